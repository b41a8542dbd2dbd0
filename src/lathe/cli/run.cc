#include <unistd.h>

#include <cstdio>

#include "lathe/cli/command.h"
#include "lathe/generate/generator.h"
#include "lathe/text/chat_template.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string model, prompt, system, kv;
  bool chat = false;
  int64_t max_tokens = 256;
  std::vector<std::string> stops;
  SamplingOptions sampling;
};

Result<std::string> read_prompt(const Options& options) {
  if (!options.prompt.empty()) return options.prompt;
  if (isatty(STDIN_FILENO) == 1) return bad_input("no prompt").with_hint("give one with -p TEXT");
  std::string text;
  char buffer[4096];
  for (size_t got; (got = std::fread(buffer, 1, sizeof(buffer), stdin)) > 0;)
    text.append(buffer, got);
  if (text.empty()) return bad_input("the prompt on stdin is empty");
  return text;
}

Result<std::string> as_chat(const Options& options, const Tokenizer& tokenizer,
                            std::string prompt) {
  if (tokenizer.chat_template().empty()) {
    return bad_input("the model has no chat template").with_hint("leave out --chat");
  }
  LATHE_TRY(const ChatTemplate format, ChatTemplate::parse(tokenizer.chat_template()));
  std::vector<ChatMessage> messages;
  if (!options.system.empty()) messages.push_back({"system", options.system});
  messages.push_back({"user", std::move(prompt)});
  const nlohmann::json variables = {
      {"bos_token", tokenizer.bos() ? tokenizer.token_of(*tokenizer.bos()) : ""},
      {"eos_token", tokenizer.eos() ? tokenizer.token_of(*tokenizer.eos()) : ""}};
  return format.render(messages, true, variables);
}

Result<int> run(const Options& options, const Common& common) {
  LATHE_TRY(std::string prompt, read_prompt(options));
  LATHE_TRY(const Engine engine, open_engine(options.model, common.engine(options.kv)));
  if (options.chat) {
    LATHE_TRY(prompt, as_chat(options, *engine.tokenizer, std::move(prompt)));
  }
  Request request;
  request.prompt =
      engine.tokenizer->encode(prompt, {.add_special = !options.chat, .parse_special = true});
  request.max_tokens = options.max_tokens;
  request.stops = options.stops;
  request.sampling = options.sampling;
  request.seed = common.seed;
  if (common.json) {
    LATHE_TRY(const Completion completion, generate(engine, request));
    print_json({{"command", "run"},
                {"text", completion.text},
                {"ids", completion.ids},
                {"finish", completion.finish},
                {"prompt_tokens", completion.prompt_tokens},
                {"seed", common.seed}});
    return kDone;
  }
  LATHE_TRY(const Completion completion,
            generate(engine, request, [](size_t, std::string_view text) {
              std::fwrite(text.data(), 1, text.size(), stdout);
              std::fflush(stdout);
            }));
  fmt::print("\n");
  return kDone;
}

}  // namespace

Body add_run(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "MODEL")->required();
  add_kv_option(app, options->kv);
  app.add_option("-p,--prompt", options->prompt, "The prompt; without it, read from stdin");
  app.add_flag("--chat", options->chat, "Put the prompt into the model's chat template");
  app.add_option("--system", options->system, "System message (with --chat)");
  app.add_option("-n,--max-tokens", options->max_tokens,
                 "Tokens to generate at most (default: 256)")
      ->check(CLI::PositiveNumber);
  app.add_option("--stop", options->stops, "Stop before this text, repeatable")
      ->allow_extra_args(false);
  app.add_option("--temperature", options->sampling.temperature, "0: greedy (default)");
  app.add_option("--top-k", options->sampling.top_k, "Sample from the k likeliest; 0: off");
  app.add_option("--top-p", options->sampling.top_p,
                 "Sample from the likeliest of this total; 1: off");
  app.add_option("--min-p", options->sampling.min_p,
                 "Drop tokens below this share of the likeliest; 0: off");
  return [options, &common] { return run(*options, common); };
}

}  // namespace lathe::cli
