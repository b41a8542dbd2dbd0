// Spreads a sweep over processes or machines that share a file system. Each worker is this program
// on a share of the runs (`--shard`), which it leaves in their folders; the sweep that launched
// them then finds all runs done, compares them and writes the tables. Nothing travels but files.
#pragma once

#include <string>
#include <vector>

#include "lathe/lab/plan.h"

namespace lathe {

struct Launch {
  std::string kind;                  // "mpi", "slurm"
  int processes = 0;                 // 0: mpi: as mpirun decides; slurm: one a run
  std::string arguments;             // further ones for mpirun or sbatch, separated by spaces
  std::vector<std::string> command;  // lathe sweep …, without the launcher's options
  std::string folder;                // of the sweep: for the job script and its logs
  int runs = 0;                      // how many there are
};

// Starts the workers and waits for them. An error where they could not be started; that single runs
// failed is found in their folders.
Status launch(const Launch& launch);

// "1/4": the second of four; "auto": by what mpirun or srun put into the environment.
Result<Shard> parse_shard(const std::string& text);

// The script that is given to sbatch; for tests and for people who want to change it.
std::string slurm_script(const Launch& launch, const std::string& program,
                         const std::string& directory);

}  // namespace lathe
