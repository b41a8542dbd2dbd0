// Probes: their parameters, and rows that can be true.
#include "lathe/profile/probe.h"

#include <gtest/gtest.h>

#include <map>

#include "support/files.h"

namespace lathe {
namespace {

using nlohmann::json;

TEST(Probes, ParametersHaveDefaults) {
  EXPECT_EQ(probe_parameters("latency", json::object()).value(),
            (json{{"prompt", 128}, {"generate", 64}, {"repetitions", 5}, {"warm_up", 1}}));
  EXPECT_EQ(probe_parameters("latency", {{"prompt", 8}}).value()["prompt"], 8);
  EXPECT_EQ(probe_parameters("size", json::object()).value(), json::object());
}

TEST(Probes, WrongParametersAreRefused) {
  const auto refused = [](const char* name, const json& parameters) {
    const auto checked = probe_parameters(name, parameters);
    EXPECT_FALSE(checked.ok()) << name << parameters;
    return checked.ok() ? std::string() : checked.error().message + " | " + checked.error().hint;
  };
  EXPECT_NE(refused("latncy", json::object()).find("did you mean 'latency'?"), std::string::npos);
  EXPECT_NE(refused("latency", {{"promt", 8}}).find("did you mean 'prompt'?"), std::string::npos);
  for (const json& value : {json(-1), json(1.5), json("8"), json(nullptr), json::array()}) {
    EXPECT_NE(refused("latency", {{"prompt", value}}).find("whole number"), std::string::npos);
  }
  EXPECT_NE(refused("size", {{"prompt", 8}}).find("'prompt'"), std::string::npos);
}

class Probing : public ::testing::Test {
 protected:
  std::map<std::string, Measurement> run(const std::string& name, const json& parameters) const {
    std::map<std::string, Measurement> rows;
    const auto measured = run_probe(name, {engine_, *checkpoint_}, parameters);
    EXPECT_TRUE(measured.ok()) << measured.error().message;
    for (const Measurement& m : *measured) rows[m.metric] = m;
    return rows;
  }
  const std::string path_ = test::source_file("models/tiny");
  const Engine engine_ = open_engine(path_, {.device = "cpu", .threads = 1, .context = 64}).value();
  const std::unique_ptr<const Checkpoint> checkpoint_ = open_checkpoint(path_).value();
};

TEST_F(Probing, Latency) {
  const auto rows = run("latency", {{"prompt", 8}, {"generate", 4}, {"repetitions", 3}});
  ASSERT_EQ(rows.size(), 8u);
  for (const auto& [metric, m] : rows) {
    // Energy is known where the processor's counters can be read; elsewhere the row says why not.
    if (!m.extra.contains("unknown")) {
      EXPECT_GT(m.value, 0) << metric;
    } else {
      EXPECT_TRUE(metric.starts_with("joules_per_")) << metric;
    }
    EXPECT_EQ(m.task, "latency");
    EXPECT_EQ(m.extra["prompt_tokens"], 8);
    EXPECT_EQ(m.extra["generated_tokens"], 4);
  }
  for (const char* metric : {"decode_tokens_per_s", "prefill_tokens_per_s", "ttft_ms"}) {
    const Measurement& m = rows.at(metric);
    EXPECT_EQ(m.n, 3) << metric;
    EXPECT_LE(*m.low, m.value) << metric;
    EXPECT_GE(*m.high, m.value) << metric;
  }
  // The first of the generated tokens comes with the prompt: three steps, three repetitions.
  EXPECT_EQ(rows.at("itl_ms_p50").n, 9);
  EXPECT_LE(rows.at("itl_ms_p50").value, rows.at("itl_ms_p90").value);
  EXPECT_LE(rows.at("itl_ms_p90").value, rows.at("itl_ms_p99").value);
}

TEST_F(Probing, LatencyRefusesWhatDoesNotFit) {
  const auto refused = [&](const json& parameters) {
    const auto measured = run_probe("latency", {engine_, *checkpoint_}, parameters);
    EXPECT_FALSE(measured.ok()) << parameters;
    return measured.ok() ? std::string() : measured.error().message;
  };
  EXPECT_NE(refused({{"prompt", 61}, {"generate", 4}}).find("do not fit"), std::string::npos);
  const int64_t many = int64_t{1} << 40;
  EXPECT_NE(refused({{"prompt", many}}).find("do not fit"), std::string::npos);
  EXPECT_NE(refused({{"prompt", 8}, {"generate", many}}).find("do not fit"), std::string::npos);
  EXPECT_NE(refused({{"prompt", INT64_MAX}}).find("'prompt'"), std::string::npos);
  for (const auto& [key, value] : {std::pair{"prompt", 0}, {"generate", 1}, {"repetitions", 0}}) {
    EXPECT_NE(refused({{key, value}}).find("are needed"), std::string::npos) << key;
  }
}

TEST_F(Probing, SizeIsWhatTheFilesHold) {
  const auto rows = run("size", json::object());
  EXPECT_EQ(rows.at("disk_bytes").value,
            static_cast<double>(std::filesystem::file_size(path_ + "/model.safetensors")));
  EXPECT_EQ(rows.at("weights_bytes").value, static_cast<double>(engine_.model->weights_bytes));
  // BF16, and norms in F32.
  EXPECT_NEAR(rows.at("bits_per_weight").value, 16, 0.05);
}

TEST_F(Probing, MemoryCoversTheWeights) {
  const auto rows = run("memory", json::object());
  EXPECT_GE(rows.at("peak_engine_bytes").value, static_cast<double>(engine_.model->weights_bytes));
  EXPECT_GE(rows.at("peak_rss_bytes").value, rows.at("kv_bytes").value);
}

}  // namespace
}  // namespace lathe
