// exp, tanh and the normal distribution over lanes, for the instruction sets that have no C library
// of their own. Coefficients: tools/oracles/math_coefficients.py. Relative errors below 3e-7 in
// tests/backend/elementwise_test.cc. Included after lanes_*.h.
#pragma once

namespace lathe::cpu {
namespace {

template <int kCount>
LANE F polynomial(F x, const float (&c)[kCount]) {
  F r = set1(c[kCount - 1]);
  for (int i = kCount - 2; i >= 0; --i) r = fma(r, x, set1(c[i]));
  return r;
}

// 2^n · e^r with |r| ≤ ln(2)/2. Below −103 the result is 0, above 88.72 it is infinite; NaN stays.
LANE F exp_of(F x) {
  static constexpr float kExp[] = {1.0f,
                                   1.00000003773f,
                                   0.500000004714f,
                                   0.16666415438f,
                                   0.041666352801f,
                                   0.00837513278114f,
                                   0.00139411164061f};
  x = min(set1(89.0f), max(set1(-104.0f), x));
  const I n = to_int(mul(x, set1(1.44269504088896341f)));
  const F f = to_float(n);
  F r = fma(f, set1(-0.693359375f), x);  // ln 2 in two parts, the first exact in few bits
  r = fma(f, set1(2.12194440054690583e-4f), r);
  return times_power_of_two(polynomial(r, kExp), n);
}

LANE F tanh_of(F x) {
  static constexpr float kRest[] = {-0.333333331494f, 0.133333001462f,    -0.0539584616275f,
                                    0.0217625029074f, -0.00832318705828f, 0.00226950168416f};
  const F a = abs(x);
  const F z = mul(x, x);
  const F near = fma(mul(polynomial(z, kRest), z), x, x);
  const F e = exp_of(add(a, a));
  const F far = sub(set1(1.0f), div(set1(2.0f), add(e, set1(1.0f))));
  const F signed_far = if_less(x, zero(), sub(zero(), far), far);
  return if_less(a, set1(0.625f), near, signed_far);
}

// Φ(x) = erfc(−x/√2)/2, accurate relative to its own size in the left tail too.
LANE F normal_cdf(F x) {
  static constexpr float kErfc[] = {0.282092499518f,  0.282158138569f,  0.24613115491f,
                                    0.180184033525f,  0.0741075487421f, -0.00940797412245f,
                                    0.0476590888196f, -0.361043603893f, 0.42794219212f,
                                    -0.208440282652f, 0.0386172077781f};
  const F a = abs(x);
  const F u = min(set1(14.0f), mul(a, set1(0.70710678118654752f)));
  const F t = div(set1(1.0f), fma(u, set1(0.5f), set1(1.0f)));
  // e^(−a²/2) with the rounding of a² added back.
  const F b = min(set1(19.8f), a);
  const F square = mul(b, b);
  const F lost = fma(b, b, sub(zero(), square));
  const F e = exp_of(mul(square, set1(-0.5f)));
  const F tail_e = fma(mul(e, lost), set1(-0.5f), e);
  const F tail = mul(mul(mul(tail_e, t), polynomial(t, kErfc)), set1(0.5f));
  return if_less(x, zero(), tail, sub(set1(1.0f), tail));
}

}  // namespace
}  // namespace lathe::cpu
