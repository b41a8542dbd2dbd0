// Experiment files: grids, includes, what variants may change, and what is refused.
#include "lathe/lab/experiment.h"

#include <gtest/gtest.h>

#include <fstream>

#include "lathe/lab/launcher.h"
#include "lathe/lab/plan.h"
#include "support/files.h"

namespace lathe {
namespace {

const std::string kHead = "name: x\nmodels: [m]\n";
const std::string kTasks = "tasks: [{perplexity: {limit: 3}}]\nprobes: [size]\n";

Experiment parsed(const std::string& text) {
  auto e = parse_experiment(kHead + text, "x.yaml");
  EXPECT_TRUE(e.ok()) << (e.ok() ? "" : e.error().message);
  return e.ok() ? *e : Experiment{};
}
std::string refused(const std::string& text) {
  const auto e = parse_experiment(kHead + text, "x.yaml");
  return e.ok() ? "accepted" : e.error().message + " / " + e.error().hint;
}
std::vector<std::string> names(const Experiment& e) {
  std::vector<std::string> out;
  for (const auto& v : e.variants) out.push_back(v.name);
  return out;
}
using Names = std::vector<std::string>;

TEST(Experiment, GridsBecomeVariantsAfterThoseThatAreNamed) {
  const Experiment e = parsed(kTasks + R"(
variants: {fp16: {format: f16}}
grid:
  over: {format: ["int8:row", "nf4:b64"], prune.sparsity: [0.1, 0.2]}
  base: {prune: {method: magnitude}}
)");
  EXPECT_EQ(names(e),
            (Names{"fp16", "int8-row-0.1", "int8-row-0.2", "nf4-b64-0.1", "nf4-b64-0.2"}));
  EXPECT_EQ(e.variants[3].recipe.format(), "nf4:b64");
  EXPECT_TRUE(e.variants[3].recipe.prunes());
  EXPECT_EQ(e.baseline, "fp16");
  const Experiment two = parsed(kTasks + R"(
grid:
  - {over: {format: [f16]}, name: "plain-{format}"}
  - {over: {format: ["int8:row"]}}
)");
  EXPECT_EQ(names(two), (Names{"plain-f16", "int8-row"}));
}

TEST(Experiment, BadGridsSayWhatIsWrong) {
  const auto grid = [](const std::string& text) { return refused(kTasks + "grid: " + text); };
  EXPECT_NE(grid("5").find("'grid' must be a map"), std::string::npos);
  EXPECT_NE(grid("{ovre: {format: [f16]}}").find("did you mean 'over'?"), std::string::npos);
  EXPECT_NE(grid("{over: {format: f16}}").find("must be a list"), std::string::npos);
  EXPECT_NE(grid("{over: {format: []}}").find("at least one"), std::string::npos);
  EXPECT_NE(grid("{over: {format: [f16, bf16]}, name: same}").find("two variants"),
            std::string::npos);
  EXPECT_NE(grid("{over: {format: [f16]}, name: '{fromat}'}").find("did you mean 'format'?"),
            std::string::npos);
  EXPECT_NE(grid("{over: {format: [f16]}, name: '{format'}").find("lacks a '}'"),
            std::string::npos);
  EXPECT_NE(grid("{over: {format: [f17]}}").find("variant 'f17'"), std::string::npos);
  EXPECT_NE(grid("{over: {format.x: [1]}, base: {format: f16}}").find("no map"), std::string::npos);
  std::string many = "[0";
  for (int i = 1; i < 40; ++i) many += "," + std::to_string(i);
  EXPECT_NE(grid("{over: {a: " + many + "], b: " + many + "]}}").find("more than 1000"),
            std::string::npos);
}

TEST(Experiment, VariantsMayChangeTasksAndProbes) {
  const Experiment e = parsed(kTasks + R"(
variants:
  a: {format: f16}
  b: {format: f16, tasks: {perplexity: {limit: 1}}, probes: []}
  c: {format: f16, tasks: {perplexity: false, squad_v2: {limit: 2}}}
  d: {format: f16, tasks: [squad_v2], probes: {size: true, memory: null}}
)");
  EXPECT_EQ(e.variants[0].tasks[0].parameters["limit"], 3);
  EXPECT_EQ(e.variants[1].tasks[0].parameters["limit"], 1);
  EXPECT_TRUE(e.variants[1].probes.empty());
  ASSERT_EQ(e.variants[2].tasks.size(), 1u);
  EXPECT_EQ(e.variants[2].tasks[0].name, "squad_v2");
  EXPECT_EQ(e.variants[3].tasks[0].name, "squad_v2");
  EXPECT_EQ(e.variants[3].probes.size(), 2u);
  const auto with = [](const std::string& v) {
    return refused(kTasks + "variants: {a: " + v + "}");
  };
  EXPECT_NE(with("{tasks: {perplexty: false}}").find("did you mean 'perplexity'?"),
            std::string::npos);
  EXPECT_NE(with("{tasks: {perplexity: {limt: 1}}}").find("limt"), std::string::npos);
  EXPECT_NE(with("{tasks: {perplexity: 5}}").find("or false"), std::string::npos);
  EXPECT_NE(with("{tasks: 5}").find("a list, or a map"), std::string::npos);
  EXPECT_NE(with("{tasks: [], probes: []}").find("variant 'a': neither"), std::string::npos);
}

TEST(Experiment, CostsAndTrackersAreChecked) {
  const std::string v = kTasks + "variants: {a: {format: f16}}\n";
  const Experiment e = parsed(v + "cost: {usd_per_hour: 0.5, budget_usd: 10}\n");
  EXPECT_EQ(e.budget_usd, 10);
  EXPECT_NE(refused(v + "cost: {usd_per_hour: -1}").find("0 or more"), std::string::npos);
  EXPECT_NE(refused(v + "cost: {budget_usd: 1}").find("usd_per_hour"), std::string::npos);
  EXPECT_NE(refused(v + "cost: {usd_per_hour: 1, budget: 2}").find("budget_usd"),
            std::string::npos);
  EXPECT_NE(refused(v + "track: {mlfow: x}").find("did you mean 'mlflow'?"), std::string::npos);
  EXPECT_NE(refused(v + "track: [mlflow]").find("must name trackers"), std::string::npos);
  EXPECT_NE(refused(v + "track: {mlflow: 5000}").find("must be a text"), std::string::npos);
}

class Includes : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_.file(name)) << text;
  }
  test::TemporaryFolder folder_;
};

TEST_F(Includes, AreMergedBelow) {
  std::filesystem::create_directories(folder_.file("parts"));
  write("parts/base.yaml", "include: more.yaml\ntasks: [squad_v2]\nseed: 4\n");
  write("parts/more.yaml", "probes: [size]\nseed: 3\nvariants: {a: {format: f16}}\n");
  write("x.yaml", kHead + "include: parts/base.yaml\nvariants: {b: {format: \"int8:row\"}}\n");
  const auto e = load_experiment(folder_.file("x.yaml"));
  ASSERT_TRUE(e.ok()) << e.error().message;
  EXPECT_EQ(names(*e), (Names{"a", "b"}));
  EXPECT_EQ(e->seed, 4u);
  EXPECT_EQ(e->variants[0].tasks[0].name, "squad_v2");
  EXPECT_NE(e->text.find("# included from parts/base.yaml"), std::string::npos);
}

TEST_F(Includes, CyclesAndMissingFilesAreErrors) {
  write("a.yaml", kHead + "include: b.yaml\n");
  write("b.yaml", "include: a.yaml\n");
  const auto cycle = load_experiment(folder_.file("a.yaml"));
  ASSERT_FALSE(cycle.ok());
  EXPECT_NE(cycle.error().message.find("includes itself"), std::string::npos);
  write("c.yaml", kHead + "include: [none.yaml]\n");
  EXPECT_NE(load_experiment(folder_.file("c.yaml")).error().message.find("none.yaml"),
            std::string::npos);
  write("d.yaml", kHead + "include: 5\n");
  EXPECT_NE(load_experiment(folder_.file("d.yaml")).error().message.find("file name"),
            std::string::npos);
}

TEST_F(Includes, PlansChooseByGlob) {
  write("x.yaml", "name: x\nmodels: [" + test::source_file("models/tiny") + "]\n" + kTasks +
                      "variants: {fp16: {format: f16}, nf4: {format: \"nf4:b64\"}, "
                      "nf4-dq: {format: \"nf4:b64,dq\"}}\n");
  const auto e = load_experiment(folder_.file("x.yaml"));
  ASSERT_TRUE(e.ok()) << e.error().message;
  SweepOptions options;
  options.runs_folder = folder_.file("runs");
  options.only = {"nf4*"};
  const auto plan = plan_sweep(*e, options);
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->size(), 2u);
  EXPECT_EQ(plan->at(0).id, "nf4");
  EXPECT_GT(plan->at(0).memory_bytes, plan->at(0).stored_bytes);
  EXPECT_FALSE(plan->at(0).seconds.has_value()) << "nothing has run yet";
  options.skip = {"nf4-??"};
  EXPECT_EQ(plan_sweep(*e, options)->size(), 1u);
  options.skip = {"int*"};
  EXPECT_FALSE(plan_sweep(*e, options).ok());
  options.skip = {"*"};
  EXPECT_NE(plan_sweep(*e, options).error().message.find("leave no variant"), std::string::npos);
}

TEST(Launcher, SharesAreChecked) {
  EXPECT_EQ(parse_shard("1/4")->index, 1);
  for (const char* bad : {"4/4", "-1/2", "1", "a/b", "", "0/0", "1/2/3"}) {
    EXPECT_FALSE(parse_shard(bad).ok()) << bad;
  }
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"}) unsetenv(name);
  EXPECT_FALSE(parse_shard("auto").ok());
  setenv("OMPI_COMM_WORLD_RANK", "2", 1);
  setenv("OMPI_COMM_WORLD_SIZE", "3", 1);
  EXPECT_EQ(parse_shard("auto")->index, 2);
  unsetenv("OMPI_COMM_WORLD_RANK");
  unsetenv("OMPI_COMM_WORLD_SIZE");
}

TEST(Launcher, SlurmScriptsQuoteWhatTheyAreGiven) {
  Launch launch;
  launch.kind = "slurm";
  launch.command = {"sweep", "it's; rm -rf x.yaml"};
  launch.folder = "/r/x";
  launch.runs = 3;
  const std::string script = slurm_script(launch, "/bin/lathe", "/home/a b");
  EXPECT_NE(script.find("--array=0-2"), std::string::npos);
  EXPECT_NE(script.find("'it'\\''s; rm -rf x.yaml'"), std::string::npos);
  EXPECT_NE(script.find("cd '/home/a b'"), std::string::npos);
  EXPECT_NE(script.find("\"$SLURM_ARRAY_TASK_ID/3\""), std::string::npos);
}

}  // namespace
}  // namespace lathe
