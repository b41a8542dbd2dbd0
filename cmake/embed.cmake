# The built report page goes into the program as it is.
configure_file(${PROJECT_SOURCE_DIR}/src/lathe/report/report_page.S.in
               ${PROJECT_BINARY_DIR}/report_page.S @ONLY)
set_property(SOURCE ${PROJECT_BINARY_DIR}/report_page.S APPEND PROPERTY OBJECT_DEPENDS
             ${PROJECT_SOURCE_DIR}/web/dist/report.html)
target_sources(lathe_report PRIVATE ${PROJECT_BINARY_DIR}/report_page.S)
