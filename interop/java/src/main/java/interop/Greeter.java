package interop;

import com.google.protobuf.Message;
import countersign.demo.v1.GreeterOuterClass;
import countersign.demo.v1.GreeterOuterClass.HelloReply;
import countersign.demo.v1.GreeterOuterClass.HelloRequest;
import countersign.demo.v1.GreeterOuterClass.HelloStreamRequest;
import countersign.demo.v1.GreeterOuterClass.ResetReply;
import countersign.demo.v1.GreeterOuterClass.ResetRequest;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.ServerServiceDefinition;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;

/**
 * The greeter's methods, bound to their messages.
 *
 * <p>This is by hand what protoc-gen-grpc-java would write: the build could not resolve that
 * program's executable for Linux (1.84.0 to 1.85.1). The messages are generated.
 */
final class Greeter {
  private static final String SERVICE =
      GreeterOuterClass.getDescriptor().findServiceByName("Greeter").getFullName();

  static final MethodDescriptor<HelloRequest, HelloReply> SAY_HELLO =
      method(
          "SayHello",
          MethodType.UNARY,
          HelloRequest.getDefaultInstance(),
          HelloReply.getDefaultInstance());

  static final MethodDescriptor<HelloStreamRequest, HelloReply> SAY_HELLO_STREAM =
      method(
          "SayHelloStream",
          MethodType.SERVER_STREAMING,
          HelloStreamRequest.getDefaultInstance(),
          HelloReply.getDefaultInstance());

  private static final MethodDescriptor<ResetRequest, ResetReply> RESET =
      method(
          "Reset",
          MethodType.UNARY,
          ResetRequest.getDefaultInstance(),
          ResetReply.getDefaultInstance());

  private Greeter() {}

  private static <Q extends Message, A extends Message> MethodDescriptor<Q, A> method(
      String name, MethodType type, Q request, A reply) {
    return MethodDescriptor.<Q, A>newBuilder()
        .setType(type)
        .setFullMethodName(MethodDescriptor.generateFullMethodName(SERVICE, name))
        .setRequestMarshaller(ProtoUtils.marshaller(request))
        .setResponseMarshaller(ProtoUtils.marshaller(reply))
        .build();
  }

  static ServerServiceDefinition service() {
    return ServerServiceDefinition.builder(SERVICE)
        .addMethod(SAY_HELLO, ServerCalls.asyncUnaryCall(Greeter::sayHello))
        .addMethod(SAY_HELLO_STREAM, ServerCalls.asyncServerStreamingCall(Greeter::sayHelloStream))
        // grpc-java asks no interceptor about a method that is not bound, so
        // without this a stranger would learn that it is not there.
        .addMethod(RESET, ServerCalls.asyncUnaryCall(Greeter::reset))
        .build();
  }

  private static void sayHello(HelloRequest request, StreamObserver<HelloReply> replies) {
    replies.onNext(greet(request.getName()));
    replies.onCompleted();
  }

  private static void sayHelloStream(
      HelloStreamRequest request, StreamObserver<HelloReply> replies) {
    for (int sent = 0; sent < request.getCount(); sent++) {
      replies.onNext(greet(request.getName()));
    }
    replies.onCompleted();
  }

  private static void reset(ResetRequest request, StreamObserver<ResetReply> replies) {
    ServerCalls.asyncUnimplementedUnaryCall(RESET, replies);
  }

  private static HelloReply greet(String name) {
    return HelloReply.newBuilder()
        .setMessage("Hello, " + name)
        .setPrincipal(Server.PRINCIPAL.get())
        .build();
  }
}
