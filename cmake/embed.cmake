# The built report page goes into the program as it is.
configure_file(${PROJECT_SOURCE_DIR}/src/lathe/report/report_page.S.in
               ${PROJECT_BINARY_DIR}/report_page.S @ONLY)
set_property(SOURCE ${PROJECT_BINARY_DIR}/report_page.S APPEND PROPERTY OBJECT_DEPENDS
             ${PROJECT_SOURCE_DIR}/web/dist/report.html)
target_sources(lathe_report PRIVATE ${PROJECT_BINARY_DIR}/report_page.S)
# Task files become one source of raw strings.
file(GLOB builtin_tasks CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/lathe/eval/tasks/builtin/*.yaml)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${builtin_tasks})
set(builtin_entries "")
foreach(path ${builtin_tasks})
  get_filename_component(file ${path} NAME)
  file(READ ${path} yaml)
  string(APPEND builtin_entries "    {\"${file}\", R\"lathe_task(${yaml})lathe_task\"},\n")
endforeach()
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/builtin_tasks.cc @ONLY CONTENT
"// Made by cmake/embed.cmake from src/lathe/eval/tasks/builtin/*.yaml.
#include <span>

#include \"lathe/eval/data/task_spec.h\"

namespace lathe {

std::span<const BuiltinTask> builtin_tasks() {
  static const BuiltinTask tasks[] = {
@builtin_entries@  };
  return tasks;
}

}  // namespace lathe
")
target_sources(lathe_eval PRIVATE ${PROJECT_BINARY_DIR}/builtin_tasks.cc)
