#include "dashboard.h"

static const unsigned char index_html[] = {
#embed "files/index.html"
};
static const unsigned char dashboard_css[] = {
#embed "files/dashboard.css"
};
static const unsigned char app_js[] = {
#embed "files/app.js"
};
static const unsigned char api_js[] = {
#embed "files/api.js"
};
static const unsigned char fleet_js[] = {
#embed "files/fleet.js"
};
static const unsigned char words_js[] = {
#embed "files/words.js"
};
static const unsigned char dom_js[] = {
#embed "files/dom.js"
};
static const unsigned char table_js[] = {
#embed "files/table.js"
};
static const unsigned char fleet_page_js[] = {
#embed "files/fleet-page.js"
};
static const unsigned char agent_page_js[] = {
#embed "files/agent-page.js"
};
static const unsigned char events_page_js[] = {
#embed "files/events-page.js"
};
static const unsigned char bulk_js[] = {
#embed "files/bulk.js"
};
static const unsigned char export_js[] = {
#embed "files/export.js"
};
static const unsigned char findings_js[] = {
#embed "files/findings.js"
};
static const unsigned char system_page_js[] = {
#embed "files/system-page.js"
};

#define FILE(path, type, bytes) {path, type "; charset=utf-8", bytes, sizeof bytes}

static const struct rollcall_dashboard_file files[] = {
    FILE("/", "text/html", index_html),
    FILE("/dashboard/dashboard.css", "text/css", dashboard_css),
    FILE("/dashboard/app.js", "text/javascript", app_js),
    FILE("/dashboard/api.js", "text/javascript", api_js),
    FILE("/dashboard/fleet.js", "text/javascript", fleet_js),
    FILE("/dashboard/words.js", "text/javascript", words_js),
    FILE("/dashboard/dom.js", "text/javascript", dom_js),
    FILE("/dashboard/table.js", "text/javascript", table_js),
    FILE("/dashboard/fleet-page.js", "text/javascript", fleet_page_js),
    FILE("/dashboard/agent-page.js", "text/javascript", agent_page_js),
    FILE("/dashboard/events-page.js", "text/javascript", events_page_js),
    FILE("/dashboard/bulk.js", "text/javascript", bulk_js),
    FILE("/dashboard/export.js", "text/javascript", export_js),
    FILE("/dashboard/findings.js", "text/javascript", findings_js),
    FILE("/dashboard/system-page.js", "text/javascript", system_page_js),
};

size_t rollcall_dashboard_count(void) { return sizeof files / sizeof *files; }
struct rollcall_dashboard_file rollcall_dashboard_file(size_t index) { return files[index]; }
