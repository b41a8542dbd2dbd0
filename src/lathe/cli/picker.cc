#include "lathe/cli/picker.h"

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>

#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

// Keys one by one, unechoed, until the end of the scope.
class RawTerminal {
 public:
  RawTerminal() {
    tcgetattr(STDIN_FILENO, &before_);
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
  }
  ~RawTerminal() { tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_); }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios before_{};
};

std::string read_key() {
  char c = 0;
  if (read(STDIN_FILENO, &c, 1) != 1) return "q";  // the terminal is gone
  if (c == '\n' || c == '\r') return "enter";
  if (c != '\033') return std::string(1, c);
  char sequence[2] = {};
  if (read(STDIN_FILENO, sequence, 2) != 2 || sequence[0] != '[') return "";
  return sequence[1] == 'A' ? "up" : sequence[1] == 'B' ? "down" : "";
}

size_t terminal_height() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return 24;
  return size.ws_row;
}

}  // namespace

void Picker::press(const std::string& key) {
  const auto all = [&](bool on) { std::fill(chosen.begin(), chosen.end(), on); };
  if ((key == "up" || key == "k") && at > 0) --at;
  if ((key == "down" || key == "j") && at + 1 < lines.size()) ++at;
  if (key == " ") chosen[at] = !chosen[at];
  if (key == "a") all(true);
  if (key == "n") all(false);
  if (key == "i") chosen.flip();
  if (key == "enter") state = State::kDone;
  if (key == "q" || key == "\x03" || key == "\x04") state = State::kLeft;
}

std::string Picker::draw(size_t height) const {
  const size_t shown = std::min(lines.size(), height > 4 ? height - 3 : 1);
  const size_t first = at < shown / 2 ? 0 : std::min(at - shown / 2, lines.size() - shown);
  std::string out =
      "Runs to do: arrows move, space picks, a all, n none, i invert, enter starts, q leaves\n";
  for (size_t i = first; i < first + shown; ++i) {
    out += fmt::format("{} [{}] {}\n", i == at ? ">" : " ", chosen[i] ? "x" : " ", lines[i]);
  }
  out += fmt::format("{} of {} picked\n", std::count(chosen.begin(), chosen.end(), true),
                     lines.size());
  return out;
}

Result<std::vector<std::string>> pick_runs(const std::vector<PlannedRun>& plan) {
  if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
    return bad_input("--pick needs a terminal").with_hint("use --only and --skip instead");
  }
  Picker picker;
  for (const PlannedRun& run : plan) {
    picker.lines.push_back(fmt::format("{:<28} {:<6} {:>9} {:>9}  {}", run.id, run.state,
                                       human(static_cast<double>(run.stored_bytes), "bytes"),
                                       run.seconds ? time_text(*run.seconds) : "?", run.problem));
    picker.chosen.push_back(run.problem.empty());
  }
  const RawTerminal raw;
  for (;;) {
    const std::string text = picker.draw(terminal_height());
    fmt::print("{}", text);
    std::fflush(stdout);
    picker.press(read_key());
    // Back to the first line of the list, and everything below it away.
    fmt::print("\033[{}A\033[J", std::count(text.begin(), text.end(), '\n'));
    if (picker.state != Picker::State::kOpen) break;
  }
  std::vector<std::string> ids;
  if (picker.state == Picker::State::kLeft) return ids;
  for (size_t i = 0; i < plan.size(); ++i) {
    if (picker.chosen[i]) ids.push_back(plan[i].id);
  }
  return ids;
}

}  // namespace lathe::cli
