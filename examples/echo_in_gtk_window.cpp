// A GTK 4 application with an echo service on the main loop of GTK. A window lists the connections while they are
// served, and a switch starts and stops the service. There is no thread, and nothing is handed over: callbacks of
// connections change widgets, and callbacks of widgets start and stop the service.
//
//     echo_in_gtk_window [ADDRESS]      default: 127.0.0.1:0
//
// Standard input takes the commands start, stop and status. The command status prints what the window shows. SIGINT or
// SIGTERM end the application.
#include <glib-unix.h>
#include <gtk/gtk.h>
#include <signal.h>
#include <unistd.h>
#include <onloop/glib.hpp>
#include <onloop/onloop.hpp>

#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "parts.hpp"

namespace {

std::string size_text(std::uint64_t bytes) {
  char* text = g_format_size(bytes);
  std::string copy = text;
  g_free(text);
  return copy;
}

/// The three columns of a connection, or of the heading above the connections.
class Columns {
 public:
  Columns(const char* peer, const char* received, const char* sent) {
    for (const char* text : {peer, received, sent}) {
      GtkWidget* label = gtk_label_new(text);
      const bool first = text == peer;
      gtk_label_set_xalign(GTK_LABEL(label), first ? 0 : 1);
      gtk_widget_set_size_request(label, 110, -1);
      gtk_widget_set_hexpand(label, first);
      if (!first) gtk_widget_add_css_class(label, "numeric");
      gtk_box_append(GTK_BOX(box_), label);
    }
  }
  [[nodiscard]] GtkWidget* widget() const { return box_; }
  void show(const std::string& received, const std::string& sent) {
    GtkWidget* last = gtk_widget_get_last_child(box_);
    gtk_label_set_text(GTK_LABEL(last), sent.c_str());
    gtk_label_set_text(GTK_LABEL(gtk_widget_get_prev_sibling(last)), received.c_str());
  }
  [[nodiscard]] std::string text() const {
    std::string all;
    for (GtkWidget* label = gtk_widget_get_first_child(box_); label; label = gtk_widget_get_next_sibling(label)) {
      all += (all.empty() ? "" : "  ") + std::string{gtk_label_get_text(GTK_LABEL(label))};
    }
    return all;
  }

 private:
  GtkWidget* box_ = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, 12);
};

/// The rows of the list. The window owns the widget.
struct List {
  GtkWidget* widget = gtk_list_box_new();
  std::vector<class Row*> rows;
};

/// The state of a connection is its row. The row is destroyed with the connection, when the connection is closed or the
/// service ends.
class Row {
 public:
  Row(List& list, onloop::Connection& connection)
      : list_(list), connection_(connection), columns_(connection.peer().to_string().c_str(), "", "") {
    refresh();
    gtk_list_box_append(GTK_LIST_BOX(list_.widget), columns_.widget());
    list_.rows.push_back(this);
  }
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;
  ~Row() {
    std::erase(list_.rows, this);
    gtk_list_box_remove(GTK_LIST_BOX(list_.widget), gtk_widget_get_parent(columns_.widget()));
  }
  void add_received(std::size_t bytes) { received_ += bytes; }
  void refresh() { columns_.show(size_text(received_), size_text(received_ - connection_.queued_bytes())); }
  [[nodiscard]] std::string text() const { return columns_.text(); }

 private:
  List& list_;
  onloop::Connection& connection_;
  Columns columns_;
  std::uint64_t received_ = 0;
};

class ListedEcho : public onloop::Echo {
 public:
  explicit ListedEcho(List& list) : list_(list) {}
  void on_open(onloop::Connection& connection) override { connection.emplace_state<Row>(list_, connection); }
  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override {
    connection.state<Row>().add_received(data.size());
    Echo::on_data(connection, data);
  }

 private:
  List& list_;
};

struct EchoService {
  EchoService(List& list, const std::string& address) : echo{list} {
    listener = &context.listen(address, echo);
    example::say("listening on " + listener->address().to_string() + " (glib)");
  }
  ListedEcho echo;
  onloop::Context context{onloop::glib(g_main_context_default())};
  const onloop::Listener* listener;
};

class Window {
 public:
  Window(GtkApplication* application, std::string address);
  void start_or_stop(bool start);
  void refresh();
  void say_status();
  bool read_commands(int fd) { return open_ && commands_.read(fd); }
  /// Must be called before the widgets are destroyed. A timer can still fire afterwards.
  void end() {
    open_ = false;
    service_.reset();
  }

 private:
  bool open_ = true;
  std::string address_;
  List list_;
  GtkWidget* where_ = gtk_label_new("");
  GtkWidget* totals_ = gtk_label_new("");
  GtkWidget* switch_ = gtk_switch_new();
  std::optional<EchoService> service_;
  example::Commands commands_{[this] { gtk_switch_set_active(GTK_SWITCH(switch_), TRUE); },
                              [this] { gtk_switch_set_active(GTK_SWITCH(switch_), FALSE); }, [this] { say_status(); }};
};

void Window::start_or_stop(bool start) try {
  if (start && !service_) service_.emplace(list_, address_);
  if (!start && service_) {
    service_.reset();
    example::say("stopped");
  }
  gtk_switch_set_state(GTK_SWITCH(switch_), start);
  refresh();
} catch (const std::exception& error) {
  example::say(std::string("error: ") + error.what());
  gtk_switch_set_active(GTK_SWITCH(switch_), FALSE);
  gtk_label_set_text(GTK_LABEL(where_), error.what());
}

void Window::refresh() {
  if (!open_) return;
  for (Row* row : list_.rows) row->refresh();
  const onloop::Statistics now = service_ ? service_->context.statistics() : onloop::Statistics{};
  const std::string count = std::to_string(now.connections) + (now.connections == 1 ? " connection" : " connections");
  const std::string totals =
      count + ", " + size_text(now.bytes_received) + " received, " + size_text(now.bytes_sent) + " sent";
  gtk_label_set_text(GTK_LABEL(totals_), totals.c_str());
  const std::string where = service_ ? "Echo on " + service_->listener->address().to_string() : "Echo is off";
  gtk_label_set_text(GTK_LABEL(where_), where.c_str());
}

void Window::say_status() {
  refresh();
  for (const Row* row : list_.rows) example::say(row->text());
  example::say(std::string{"total: "} + gtk_label_get_text(GTK_LABEL(totals_)));
}

// ---- GTK's callbacks ----

gboolean on_switch(GtkSwitch*, gboolean on, Window* window) {
  window->start_or_stop(on);
  return TRUE;
}

gboolean on_close_request(GtkWindow*, Window* window) {
  window->end();
  return FALSE;
}

gboolean on_timer(void* window) {
  static_cast<Window*>(window)->refresh();
  return G_SOURCE_CONTINUE;
}

// The end of standard input does not end the application, since it is a graphical one.
gboolean on_input(int fd, GIOCondition, void* window) {
  return static_cast<Window*>(window)->read_commands(fd) ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

gboolean on_signal(void* application) {
  g_application_quit(G_APPLICATION(application));
  return G_SOURCE_CONTINUE;
}

// ---- the widgets ----

Window::Window(GtkApplication* application, std::string address) : address_(std::move(address)) {
  GtkWidget* header = gtk_header_bar_new();
  gtk_widget_add_css_class(where_, "title");
  gtk_widget_set_valign(switch_, GTK_ALIGN_CENTER);
  gtk_header_bar_set_title_widget(GTK_HEADER_BAR(header), where_);
  gtk_header_bar_pack_start(GTK_HEADER_BAR(header), switch_);
  g_signal_connect(switch_, "state-set", G_CALLBACK(on_switch), this);

  const Columns heading{"Peer", "Received", "Sent"};
  gtk_widget_set_name(heading.widget(), "heading");
  gtk_list_box_set_selection_mode(GTK_LIST_BOX(list_.widget), GTK_SELECTION_NONE);
  gtk_list_box_set_show_separators(GTK_LIST_BOX(list_.widget), TRUE);
  gtk_list_box_set_placeholder(GTK_LIST_BOX(list_.widget), gtk_label_new("No connections"));
  GtkWidget* scrolled = gtk_scrolled_window_new();
  gtk_widget_set_vexpand(scrolled, TRUE);
  gtk_scrolled_window_set_child(GTK_SCROLLED_WINDOW(scrolled), list_.widget);
  gtk_label_set_xalign(GTK_LABEL(totals_), 0);
  gtk_widget_set_name(totals_, "totals");

  GtkWidget* content = gtk_box_new(GTK_ORIENTATION_VERTICAL, 0);
  gtk_box_append(GTK_BOX(content), heading.widget());
  gtk_box_append(GTK_BOX(content), gtk_separator_new(GTK_ORIENTATION_HORIZONTAL));
  gtk_box_append(GTK_BOX(content), scrolled);
  gtk_box_append(GTK_BOX(content), gtk_separator_new(GTK_ORIENTATION_HORIZONTAL));
  gtk_box_append(GTK_BOX(content), totals_);

  GtkWidget* window = gtk_application_window_new(application);
  gtk_window_set_title(GTK_WINDOW(window), "Echo");
  gtk_window_set_titlebar(GTK_WINDOW(window), header);
  gtk_window_set_default_size(GTK_WINDOW(window), 560, 400);
  gtk_window_set_child(GTK_WINDOW(window), content);
  g_signal_connect(window, "close-request", G_CALLBACK(on_close_request), this);
  gtk_window_present(GTK_WINDOW(window));
  gtk_switch_set_active(GTK_SWITCH(switch_), TRUE);
}

constexpr char kStyle[] =
    "#heading, #totals { padding: 10px 16px; } #heading { font-weight: bold; }"
    "list row { padding: 8px 16px; } list > label { padding: 48px; opacity: 0.6; }";

struct Application {
  std::string address = "127.0.0.1:0";
  std::optional<Window> window;
};

void on_activate(GtkApplication* gtk, Application* application) {
  GtkCssProvider* style = gtk_css_provider_new();
#if GTK_CHECK_VERSION(4, 12, 0)
  gtk_css_provider_load_from_string(style, kStyle);
#else
  gtk_css_provider_load_from_data(style, kStyle, -1);
#endif
  gtk_style_context_add_provider_for_display(gdk_display_get_default(), GTK_STYLE_PROVIDER(style),
                                             GTK_STYLE_PROVIDER_PRIORITY_APPLICATION);
  g_object_unref(style);
  Window* window = &application->window.emplace(gtk, application->address);
  g_timeout_add(200, on_timer, window);
  g_unix_fd_add(STDIN_FILENO, static_cast<GIOCondition>(G_IO_IN | G_IO_HUP | G_IO_ERR), on_input, window);
  g_unix_signal_add(SIGINT, on_signal, gtk);
  g_unix_signal_add(SIGTERM, on_signal, gtk);
}

void on_shutdown(GtkApplication*, Application* application) {
  if (application->window) application->window->end();
}

}  // namespace

int main(int argc, char** argv) {
  Application application;
  if (argc > 1) application.address = argv[1];
  GtkApplication* gtk = gtk_application_new("org.example.Echo", G_APPLICATION_NON_UNIQUE);
  g_signal_connect(gtk, "activate", G_CALLBACK(on_activate), &application);
  g_signal_connect(gtk, "shutdown", G_CALLBACK(on_shutdown), &application);
  const int status = g_application_run(G_APPLICATION(gtk), 1, argv);
  g_object_unref(gtk);
  return status;
}
