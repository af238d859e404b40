// An addon for Node, in plain Node-API: an echo service on the libuv loop that runs JavaScript.
//
//     const service = require('./onloop.node').echo('127.0.0.1:0', (bytes) => { ... });
//     service.address;    // where it listens
//     service.unref();    // Node may end while it is open
//     service.close();
//
// libuv is Node's: the shim is compiled in, and its calls find the functions that are in the process already. The
// library must stay when a worker that loaded it ends (-z nodelete): libuv has yet to call back for closed handles.

#include <node_api.h>
#include <onloop/libuv.hpp>
#include <onloop/onloop.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace {

class HandleScope {
 public:
  explicit HandleScope(napi_env env) : env_(env) { napi_open_handle_scope(env, &scope_); }
  HandleScope(const HandleScope&) = delete;
  HandleScope& operator=(const HandleScope&) = delete;
  ~HandleScope() { napi_close_handle_scope(env_, scope_); }

 private:
  napi_env env_;
  napi_handle_scope scope_ = nullptr;
};

/// JavaScript that is called from libuv, and not from JavaScript, needs a callback scope: at its end Node runs what was
/// given to process.nextTick(), and the reactions of promises. `batch` may destroy the service, so this holds nothing
/// of it.
void in_callback_scope(napi_env env, napi_async_context async, const std::function<void()>& batch) {
  const HandleScope handles(env);
  napi_value resource = nullptr;
  napi_create_object(env, &resource);
  napi_callback_scope scope = nullptr;
  napi_open_callback_scope(env, resource, async, &scope);
  batch();
  if (scope) napi_close_callback_scope(env, scope);
}

/// Belongs to the JavaScript object that it is wrapped in, which is kept while the service is open.
class Service : private onloop::Echo {
 public:
  Service(napi_env env, uv_loop_s* loop, napi_async_context async, const std::string& address) : env_(env) {
    onloop::ContextOptions options;
    options.around = [env, async](const std::function<void()>& batch) { in_callback_scope(env, async, batch); };
    context_.emplace(onloop::libuv(loop), std::move(options));
    address_ = context_->listen(address, *this).address().to_string();
    async_ = async;
  }
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  ~Service() override {
    close();
    napi_async_destroy(env_, async_);
  }

  /// From here on the service is the object's, and calls `callback`.
  bool wrap(napi_value object, napi_value callback) {
    const auto finalize = [](napi_env, void* service, void*) { delete static_cast<Service*>(service); };
    return napi_create_reference(env_, callback, 1, &callback_) == napi_ok &&
           napi_create_reference(env_, object, 1, &object_) == napi_ok &&
           napi_wrap(env_, object, this, finalize, nullptr, nullptr) == napi_ok;
  }
  void unref() {
    if (context_) context_->set_keepalive(false);
  }
  void close() {
    context_.reset();
    for (napi_ref* reference : {&callback_, &object_}) {
      if (napi_ref held = std::exchange(*reference, nullptr)) napi_delete_reference(env_, held);
    }
  }
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  /// Calls JavaScript last, since that may close the service.
  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override {
    Echo::on_data(connection, data);
    call(env_, callback_, data);
  }

  static void call(napi_env env, napi_ref callback, std::span<const std::byte> data) {
    const HandleScope handles(env);
    napi_value function = nullptr;
    napi_value undefined = nullptr;
    napi_value bytes = nullptr;
    if (napi_get_reference_value(env, callback, &function) != napi_ok ||
        napi_get_undefined(env, &undefined) != napi_ok ||
        napi_create_buffer_copy(env, data.size(), data.data(), nullptr, &bytes) != napi_ok) {
      return;  // the environment is being torn down
    }
    if (napi_call_function(env, undefined, function, 1, &bytes, nullptr) != napi_pending_exception) return;
    napi_value error = nullptr;
    if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
  }

  napi_env env_;
  napi_async_context async_ = nullptr;
  napi_ref callback_ = nullptr;
  napi_ref object_ = nullptr;
  std::string address_;
  std::optional<onloop::Context> context_;
};

Service* service_of(napi_env env, napi_callback_info info) {
  napi_value object = nullptr;
  void* service = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, &object, nullptr);
  if (napi_unwrap(env, object, &service) != napi_ok) {
    napi_throw_type_error(env, nullptr, "not a service of onloop");
    return nullptr;
  }
  return static_cast<Service*>(service);
}

napi_value close(napi_env env, napi_callback_info info) {
  if (Service* service = service_of(env, info)) service->close();
  return nullptr;
}

napi_value unref(napi_env env, napi_callback_info info) {
  if (Service* service = service_of(env, info)) service->unref();
  return nullptr;
}

std::optional<std::string> string_of(napi_env env, napi_value value) {
  std::size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return {};
  std::string text(length, '\0');
  napi_get_value_string_utf8(env, value, text.data(), length + 1, &length);
  return text;
}

napi_value make_object(napi_env env, const Service& service) {
  napi_value object = nullptr;
  napi_value address = nullptr;
  napi_create_object(env, &object);
  napi_create_string_utf8(env, service.address().data(), service.address().size(), &address);
  const napi_property_descriptor properties[] = {
      {"address", nullptr, nullptr, nullptr, nullptr, address, napi_enumerable, nullptr},
      {"close", nullptr, close, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"unref", nullptr, unref, nullptr, nullptr, nullptr, napi_default, nullptr}};
  napi_define_properties(env, object, std::size(properties), properties);
  return object;
}

/// echo(address, callback)
napi_value echo(napi_env env, napi_callback_info info) {
  napi_value arguments[2] = {};
  std::size_t count = std::size(arguments);
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  const std::optional<std::string> address = string_of(env, arguments[0]);
  napi_valuetype type = napi_undefined;
  napi_typeof(env, arguments[1], &type);
  if (!address || type != napi_function) {
    napi_throw_type_error(env, nullptr, "echo takes an address and a function");
    return nullptr;
  }
  uv_loop_s* loop = nullptr;
  napi_value name = nullptr;
  napi_async_context async = nullptr;
  napi_get_uv_event_loop(env, &loop);
  napi_create_string_utf8(env, "onloop", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, nullptr, name, &async);
  try {
    auto service = std::make_unique<Service>(env, loop, async, *address);
    napi_value object = make_object(env, *service);
    if (!service->wrap(object, arguments[1])) return nullptr;
    (void)service.release();
    return object;
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
  }
  napi_async_destroy(env, async);
  return nullptr;
}

}  // namespace

/// Called once for each environment: the main thread's and each worker's.
NAPI_MODULE_INIT() {
  napi_value function = nullptr;
  napi_create_function(env, "echo", NAPI_AUTO_LENGTH, echo, nullptr, &function);
  napi_set_named_property(env, exports, "echo", function);
  return exports;
}
