// The C++ gRPC peer of the benchmark, an echo server with the callback API.
//
// The command line is described in ../README.md.

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include <grpcpp/grpcpp.h>

#include "echo.grpc.pb.h"

namespace {

using countersign::bench::v1::Echo;
using countersign::bench::v1::Payload;

class EchoService final : public Echo::CallbackService {
  grpc::ServerUnaryReactor* Call(grpc::CallbackServerContext* context, const Payload* request,
                                 Payload* response) override {
    response->set_data(request->data());
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

using Options = std::map<std::string, std::string>;

// Takes what any peer may be given. A mode takes no notice of what it has no use for.
Options ParseOptions(int argc, char** argv) {
  Options options{{"--cert", ""},           {"--key", ""},    {"--client-ca", ""},
                  {"--jwt-public-key", ""}, {"--issuer", ""}, {"--audience", ""}};
  for (int next = 3; next < argc; next += 2) {
    auto option = options.find(argv[next]);
    if (option == options.end() || next + 1 == argc) {
      throw std::runtime_error(std::string("unknown option or no value: ") + argv[next]);
    }
    option->second = argv[next + 1];
  }
  return options;
}

std::string Read(const Options& options, const std::string& name) {
  std::ifstream file(options.at(name), std::ios::binary);
  if (!file) {
    throw std::runtime_error("expected " + name + " with a file that can be read");
  }
  return {std::istreambuf_iterator<char>(file), {}};
}

std::shared_ptr<grpc::ServerCredentials> Credentials(const std::string& mode,
                                                     const Options& options) {
  if (mode == "plain") {
    return grpc::InsecureServerCredentials();
  }
  if (mode != "tls" && mode != "mtls") {
    throw std::runtime_error("unknown mode " + mode);
  }
  grpc::SslServerCredentialsOptions tls;
  if (mode == "mtls") {
    tls.client_certificate_request =
        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
    tls.pem_root_certs = Read(options, "--client-ca");
  }
  tls.pem_key_cert_pairs.push_back({Read(options, "--key"), Read(options, "--cert")});
  return grpc::SslServerCredentials(tls);
}

// Waits until standard input ends or a signal of the set arrives.
void WaitForEnd(const sigset_t& signals) {
  pollfd sources[] = {{STDIN_FILENO, POLLIN, 0}, {signalfd(-1, &signals, SFD_CLOEXEC), POLLIN, 0}};
  for (;;) {
    if (poll(sources, 2, -1) < 0) {
      continue;
    }
    if (sources[1].revents != 0) {
      return;
    }
    char ignored[256];
    if (sources[0].revents != 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0) {
      return;
    }
  }
}

void Serve(int argc, char** argv) {
  if (argc < 3 || argv[1] != std::string("serve")) {
    throw std::runtime_error("expected `serve MODE`");
  }
  // Each refused handshake would be a line in the log.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  // Blocked before there are threads, so that none of them gets it.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  EchoService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", Credentials(argv[2], ParseOptions(argc, argv)), &port);
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  // Wrong certificates show here; GRPC_VERBOSITY=ERROR names what is wrong.
  if (server == nullptr || port == 0) {
    throw std::runtime_error("the server did not start");
  }
  std::printf("listening 127.0.0.1:%d\n", port);
  std::fflush(stdout);
  WaitForEnd(signals);
  server->Shutdown(std::chrono::system_clock::now());
  server->Wait();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Serve(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
  return 0;
}
