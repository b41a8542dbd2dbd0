#include "lathe/model/rope.h"

#include <algorithm>
#include <cmath>

namespace lathe {
namespace {

constexpr double kPi = 3.14159265358979323846;

std::vector<float> plain_frequencies(double theta, int64_t rotary) {
  std::vector<float> out(static_cast<size_t>(rotary / 2));
  for (size_t i = 0; i < out.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rotary);
    out[i] = 1.0f / std::pow(static_cast<float>(theta), exponent);
  }
  return out;
}

// Low frequencies are divided by the factor, high ones kept, those between blended (Llama 3.1).
void scale_llama3(const RopeConfig& c, std::vector<float>& frequencies) {
  const double low_wavelength = static_cast<double>(c.original_context) / c.low_freq_factor;
  const double high_wavelength = static_cast<double>(c.original_context) / c.high_freq_factor;
  for (float& f : frequencies) {
    const double wavelength = 2 * kPi / f;
    if (wavelength < high_wavelength) continue;
    if (wavelength > low_wavelength) {
      f = static_cast<float>(f / c.factor);
      continue;
    }
    const double smooth =
        (static_cast<double>(c.original_context) / wavelength - c.low_freq_factor) /
        (c.high_freq_factor - c.low_freq_factor);
    f = static_cast<float>((1 - smooth) * f / c.factor + smooth * f);
  }
}

double yarn_magnitude(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

void scale_yarn(const RopeConfig& c, Rope& rope) {
  // The element whose frequency turns `rotations` times within the original context.
  auto element = [&](double rotations) {
    return static_cast<double>(c.rotary) *
           std::log(static_cast<double>(c.original_context) / (rotations * 2 * kPi)) /
           (2 * std::log(c.theta));
  };
  double low = element(c.beta_fast), high = element(c.beta_slow);
  if (c.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(c.rotary - 1));
  if (low == high) high += 0.001;
  for (size_t i = 0; i < rope.inverse_frequency.size(); ++i) {
    const float ramp =
        std::clamp(static_cast<float>((static_cast<double>(i) - low) / (high - low)), 0.0f, 1.0f);
    const float kept = rope.inverse_frequency[i];
    const auto divided = static_cast<float>(kept / c.factor);
    rope.inverse_frequency[i] = divided * ramp + kept * (1 - ramp);
  }
  if (c.attention_factor > 0) {
    rope.scale = static_cast<float>(c.attention_factor);
  } else if (c.mscale > 0 && c.mscale_all_dim > 0) {
    rope.scale = static_cast<float>(yarn_magnitude(c.factor, c.mscale) /
                                    yarn_magnitude(c.factor, c.mscale_all_dim));
  } else {
    rope.scale = static_cast<float>(yarn_magnitude(c.factor, 1.0));
  }
}

void divide_by(const std::vector<float>& factors, std::vector<float>& frequencies) {
  for (size_t i = 0; i < frequencies.size(); ++i) frequencies[i] /= factors[i];
}

void scale_longrope(const RopeConfig& c, int64_t context, int64_t max_positions, Rope& rope) {
  divide_by(context > c.original_context ? c.long_factor : c.short_factor, rope.inverse_frequency);
  if (c.attention_factor > 0) {
    rope.scale = static_cast<float>(c.attention_factor);
    return;
  }
  const double original = static_cast<double>(c.original_context);
  const double factor = c.factor > 1 ? c.factor : static_cast<double>(max_positions) / original;
  if (factor > 1)
    rope.scale = static_cast<float>(std::sqrt(1 + std::log(factor) / std::log(original)));
}

}  // namespace

Rope make_rope(const RopeConfig& c, int64_t context, int64_t max_positions) {
  Rope rope;
  double theta = c.theta;
  if (c.scaling == RopeScaling::kDynamic && context > max_positions && c.rotary > 2) {
    const double stretch =
        c.factor * static_cast<double>(context) / static_cast<double>(max_positions) -
        (c.factor - 1);
    theta *= std::pow(stretch, static_cast<double>(c.rotary) / static_cast<double>(c.rotary - 2));
  }
  rope.inverse_frequency = plain_frequencies(theta, c.rotary);
  switch (c.scaling) {
    case RopeScaling::kLinear:
      for (float& f : rope.inverse_frequency) f = static_cast<float>(f / c.factor);
      break;
    case RopeScaling::kLlama3:
      scale_llama3(c, rope.inverse_frequency);
      break;
    case RopeScaling::kYarn:
      scale_yarn(c, rope);
      break;
    case RopeScaling::kLongRope:
      scale_longrope(c, context, max_positions, rope);
      break;
    case RopeScaling::kFactors:
      divide_by(c.short_factor, rope.inverse_frequency);
      break;
    case RopeScaling::kNone:
    case RopeScaling::kDynamic:
      break;
  }
  return rope;
}

}  // namespace lathe
