#include <malloc.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "lathe/base/log.h"
#include "lathe/base/progress.h"
#include "lathe/base/suggest.h"
#include "lathe/base/version.h"
#include "lathe/cli/command.h"

namespace lathe::cli {
namespace {

void add_common(CLI::App& app, Common& common) {
  app.add_flag("--json", common.json, "Print the result as JSON on stdout, all else on stderr");
  app.add_flag("--quiet", common.quiet, "Print errors only on stderr");
  app.add_flag("--verbose", common.verbose, "Print more on stderr");
  app.add_option("--threads", common.threads, "Threads to use; 0: one per core")
      ->check(CLI::Range(0, 1024));
  app.add_option("--device", common.device,
                 "cpu, auto, or check (compares the kernels as they run)");
  app.add_option("--seed", common.seed, "Seed of everything random");
  app.add_option("--context", common.context,
                 "Longest context in tokens; 0: the model's own, at most 4096")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// CLI11's own message, with the nearest known name where something was not known.
int explain(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* where = &app;
  if (!app.get_subcommands().empty()) where = app.get_subcommands().front();
  Error told = bad_input("{}", error.what());
  const auto extras = where->remaining();
  if (!extras.empty()) {
    std::vector<std::string> known = option_names(*where);
    if (where == &app) {
      known.clear();
      for (const Command& command : commands()) {
        if (!command.hidden) known.push_back(command.name);
      }
    }
    const bool option = extras.front().rfind('-', 0) == 0;
    told.message = fmt::format("unknown {} '{}'",
                               option          ? "option"
                               : where == &app ? "command"
                                               : "argument",
                               extras.front());
    told.hint = option || where == &app ? suggest(extras.front(), known) : "";
  }
  if (told.hint.empty()) {
    told.hint = fmt::format("lathe {}--help says what it takes",
                            where == &app ? "" : where->get_name() + " ");
  }
  print_error(told);
  return kBadUsage;
}

int run(int argc, char** argv) {
  CLI::App app(
      "Lathe compresses, evaluates and profiles open language models on one engine, and shows\n"
      "what each technique costs in quality and gives in memory and speed.",
      "lathe");
  app.set_version_flag("--version", std::string("lathe ") + kVersion);
  app.require_subcommand(0, 1);
  Common common;
  std::vector<std::pair<CLI::App*, Body>> bodies;
  for (const Command& command : commands()) {
    CLI::App* sub = app.add_subcommand(command.name, command.description);
    if (command.hidden) sub->group("");
    add_common(*sub, common);
    sub->footer("MODEL is a directory, a GGUF file, a hub id in the local cache, or 'bundled'.");
    bodies.emplace_back(sub, command.add(*sub, common));
  }
  app.allow_extras();
  for (auto& [sub, body] : bodies) sub->allow_extras();
  try {
    app.parse(argc, argv);
    for (const CLI::App* level :
         {static_cast<const CLI::App*>(&app),
          app.get_subcommands().empty() ? nullptr
                                        : static_cast<const CLI::App*>(app.get_subcommands()[0])}) {
      if (level && !level->remaining().empty()) throw CLI::ExtrasError(level->remaining());
    }
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return explain(app, error);
  }
  set_up_log(common.quiet     ? LogLevel::kQuiet
             : common.verbose ? LogLevel::kVerbose
                              : LogLevel::kNormal);
  if (common.quiet) Progress::enable(false);
  for (auto& [sub, body] : bodies) {
    if (!sub->parsed()) continue;
    const Result<int> result = body();
    if (result.ok()) return *result;
    print_error(result.error());
    return exit_code(result.error().code);
  }
  fmt::print("{}", app.help());
  return kBadUsage;
}

}  // namespace
}  // namespace lathe::cli

int main(int argc, char** argv) {
#if defined(__GLIBC__)
  // Otherwise the C library, once it has seen a block of 32 MB freed, takes all smaller ones from
  // its heap and leaves holes there: 50 MB more with each window of a perplexity over 150,000
  // tokens.
  mallopt(M_MMAP_THRESHOLD, 4 << 20);
#endif
  using lathe::cli::print_error;
  int code = lathe::cli::kFailed;
  try {
    code = lathe::cli::run(argc, argv);
  } catch (const std::bad_alloc&) {
    print_error(lathe::no_room("out of memory").with_hint("use a smaller model, batch or context"));
    return lathe::cli::kNoRoom;
  } catch (const std::exception& error) {
    // A full disk behind standard output ends a print with an exception; it is told below.
    if (std::ferror(stdout) == 0) {
      print_error(lathe::failed("{}", error.what()));
      return lathe::cli::kFailed;
    }
  }
  // What was printed may still be on its way.
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  print_error(lathe::failed("cannot write to standard output: {}", std::strerror(errno)));
  return code == lathe::cli::kDone ? lathe::cli::kFailed : code;
}
