package interop;

import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import java.security.cert.CertificateParsingException;
import java.security.cert.X509Certificate;
import java.util.List;
import javax.naming.InvalidNameException;
import javax.naming.ldap.LdapName;
import javax.naming.ldap.Rdn;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLSession;

/** Names the caller by its client certificate: first URI SAN, else DNS SAN, else subject CN. */
final class CertificatePrincipal implements ServerInterceptor {
  /** The kinds of subject alternative name, as RFC 5280 numbers them. */
  private static final int DNS_NAME = 2;

  private static final int URI = 6;

  @Override
  public <Q, A> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    SSLSession session = call.getAttributes().get(Grpc.TRANSPORT_ATTR_SSL_SESSION);
    Context context = Context.current().withValue(Server.PRINCIPAL, principalOf(session));
    return Contexts.interceptCall(context, call, headers, next);
  }

  private static String principalOf(SSLSession session) {
    if (session == null) {
      return "";
    }
    try {
      X509Certificate leaf = (X509Certificate) session.getPeerCertificates()[0];
      for (int kind : new int[] {URI, DNS_NAME}) {
        String name = alternativeName(leaf, kind);
        if (name != null) {
          return name;
        }
      }
      return commonName(leaf);
    } catch (SSLPeerUnverifiedException stranger) {
      return "";
    } catch (CertificateParsingException | InvalidNameException unreadable) {
      return "";
    }
  }

  private static String alternativeName(X509Certificate leaf, int kind)
      throws CertificateParsingException {
    if (leaf.getSubjectAlternativeNames() == null) {
      return null;
    }
    for (List<?> name : leaf.getSubjectAlternativeNames()) {
      if (name.get(0).equals(kind)) {
        return (String) name.get(1);
      }
    }
    return null;
  }

  private static String commonName(X509Certificate leaf) throws InvalidNameException {
    for (Rdn part : new LdapName(leaf.getSubjectX500Principal().getName()).getRdns()) {
      if (part.getType().equalsIgnoreCase("CN")) {
        return part.getValue().toString();
      }
    }
    return "";
  }
}
