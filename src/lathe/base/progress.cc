#include "lathe/base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace lathe {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kQuietTime = std::chrono::seconds(2);
constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr int kBarCells = 24;

std::atomic<bool> enabled{true};

bool wanted() {
  static const bool forced = std::getenv("LATHE_PROGRESS") != nullptr;
  static const bool terminal = ::isatty(STDERR_FILENO) == 1;
  return enabled.load() && (forced || terminal);
}

std::string clock_text(double seconds) {
  const auto s = static_cast<int64_t>(seconds);
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace

void Progress::enable(bool on) { enabled.store(on); }

Progress::Progress(std::string label, int64_t total, std::string unit)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      start_(Clock::now()),
      drawn_(start_) {}

Progress::~Progress() {
  if (shown_) std::fputs("\r\033[K", stderr);
}

void Progress::advance(int64_t by) { set(done_ + by); }

void Progress::set(int64_t done) {
  done_ = done;
  const auto now = Clock::now();
  if (!wanted() || now - start_ < kQuietTime || now - drawn_ < kRedraw) return;
  drawn_ = now;
  draw();
}

void Progress::draw() {
  shown_ = true;
  const double share = total_ > 0 ? std::clamp(double(done_) / double(total_), 0.0, 1.0) : 0.0;
  const double elapsed = std::chrono::duration<double>(drawn_ - start_).count();
  const int filled = static_cast<int>(share * kBarCells);
  std::string bar;
  for (int i = 0; i < kBarCells; ++i) bar += i < filled ? "█" : "░";
  const std::string left =
      share > 0 ? fmt::format(", {} left", clock_text(elapsed / share - elapsed)) : "";
  fmt::print(stderr, "\r\033[K{} {} {}/{} {}{}", label_, bar, done_, total_, unit_, left);
  std::fflush(stderr);
}

}  // namespace lathe
