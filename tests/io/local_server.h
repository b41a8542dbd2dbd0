// A small HTTP/1.1 server on 127.0.0.1 for tests: one request per connection, and full control over
// what goes out, so that answers can be cut short or lie.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace lathe {

struct ServedRequest {
  std::string method, path;                    // the path is unescaped, without its query
  std::map<std::string, std::string> headers;  // lower-case names
  std::string body;                            // as long as Content-Length says
};

struct ServedResponse {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;     // not sent for HEAD; Content-Length is added
  bool ranges = false;  // honour a Range of the form "bytes=N-"
  long cut_at = -1;     // ≥ 0: close the connection where the file has this byte
};

class LocalServer {
 public:
  using Handler = std::function<ServedResponse(const ServedRequest&)>;

  explicit LocalServer(Handler handler) : handler_(std::move(handler)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(listener_, 64) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      std::abort();
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { accept_all(); });
  }
  ~LocalServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  LocalServer(const LocalServer&) = delete;
  LocalServer& operator=(const LocalServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  void accept_all() {
    std::vector<std::thread> workers;
    for (;;) {
      const int fd = ::accept(listener_, nullptr, nullptr);
      if (fd < 0) break;
      workers.emplace_back([this, fd] {
        answer(fd);
        ::shutdown(fd, SHUT_WR);
        char rest[256];
        while (::recv(fd, rest, sizeof rest, 0) > 0) {
        }
        ::close(fd);
      });
    }
    for (std::thread& worker : workers) worker.join();
  }

  static bool send_all(int fd, std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  static std::string unescape(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '%' && i + 2 < text.size()) {
        out += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
        i += 2;
      } else {
        out += text[i];
      }
    }
    return out;
  }

  static ServedRequest parse(const std::string& head) {
    ServedRequest request;
    const size_t line_end = head.find("\r\n");
    const size_t space = head.find(' '), second = head.find(' ', space + 1);
    request.method = head.substr(0, space);
    std::string target = head.substr(space + 1, second - space - 1);
    request.path = unescape(target.substr(0, target.find('?')));
    for (size_t at = line_end + 2; at + 2 < head.size();) {
      const size_t end = head.find("\r\n", at), colon = head.find(':', at);
      if (end == at || colon > end) break;
      std::string name = head.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      request.headers[name] = head.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    return request;
  }

  void answer(int fd) {
    std::string head;
    char buffer[4096];
    while (head.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) return;
      head.append(buffer, static_cast<size_t>(got));
    }
    const size_t head_end = head.find("\r\n\r\n") + 4;
    ServedRequest request = parse(head.substr(0, head_end));
    request.body = head.substr(head_end);
    const auto length = request.headers.find("content-length");
    const size_t expected = length == request.headers.end() ? 0 : std::stoul(length->second);
    while (request.body.size() < expected) {
      const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) return;
      request.body.append(buffer, static_cast<size_t>(got));
    }
    ServedResponse response = handler_(request);
    size_t first = 0;
    const size_t whole = response.body.size();
    const auto range = request.headers.find("range");
    if (response.ranges && range != request.headers.end()) {
      first = std::stoul(range->second.substr(6));
      response.status = first < whole ? 206 : 416;
      if (first >= whole) response.body.clear(), first = 0;
      response.headers.emplace_back("Content-Range", "bytes " + std::to_string(first) + "-" +
                                                         std::to_string(whole - 1) + "/" +
                                                         std::to_string(whole));
    }
    std::string out = "HTTP/1.1 " + std::to_string(response.status) + " Status\r\n";
    for (const auto& [name, value] : response.headers) out += name + ": " + value + "\r\n";
    const std::string_view body = std::string_view(response.body).substr(first);
    out += "Content-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n";
    if (!send_all(fd, out) || request.method == "HEAD") return;
    const auto cut = static_cast<size_t>(response.cut_at);
    send_all(fd, response.cut_at >= 0 ? body.substr(0, cut > first ? cut - first : 0) : body);
  }

  Handler handler_;
  int listener_ = -1, port_ = 0;
  std::thread thread_;
};

}  // namespace lathe
