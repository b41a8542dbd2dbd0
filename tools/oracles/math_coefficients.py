"""Polynomial coefficients of src/lathe/backend/cpu/kernel_math.h, by Chebyshev interpolation.

Generator: mpmath (1.3 or later) at 50 digits; nothing random. Prints each polynomial, lowest power
first, and its largest relative error on the interval before rounding to f32.
"""
import mpmath as mp

mp.mp.dps = 50


def interpolate(f, low, high, degree):
    nodes = [(low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * degree + 2))
             for i in range(degree + 1)]
    rows = mp.matrix([[x ** j for j in range(degree + 1)] for x in nodes])
    return list(mp.lu_solve(rows, mp.matrix([f(x) for x in nodes])))


def report(name, f, low, high, degree):
    low, high = mp.mpf(low), mp.mpf(high)
    c = interpolate(f, low, high, degree)
    worst = max(abs(mp.polyval(c[::-1], x) / f(x) - 1)
                for x in mp.linspace(low, high, 400))
    print(name, "relative error", mp.nstr(worst, 3))
    print("  " + ", ".join(mp.nstr(v, 12) + "f" for v in c))


def tanh_rest(z):  # (tanh(x) - x) / x^3, z = x^2
    x = mp.sqrt(z)
    return (mp.tanh(x) - x) / x ** 3 if z > mp.mpf("1e-12") else mp.mpf(-1) / 3 + 2 * z / 15


def scaled_erfc(t):  # exp(x^2) erfc(x) / t, t = 1 / (1 + x/2)
    x = 2 * (1 / t - 1)
    return mp.exp(x * x) * mp.erfc(x) / t


report("exp", mp.exp, mp.mpf("-0.3466"), mp.mpf("0.3466"), 6)
report("tanh", tanh_rest, 0, mp.mpf("0.4"), 5)
report("erfc", scaled_erfc, mp.mpf(1) / 8, 1, 10)
