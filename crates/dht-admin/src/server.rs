//! The server: one thread, a bounded number of connections, bounded heads, bounded times.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};

use crate::peers::Peers;

/// Most connections at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most header lines of a request.
const HEADERS_MAX: usize = 64;
/// How long a peer may take to send a head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// After so long a connection gets no further answer, so that none is held for ever.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(300);
/// How long the last answer of a connection may take then.
const LAST_ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long to wait when no connection can be accepted, as without descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// The system's queue of connections that are not yet accepted.
const BACKLOG: i32 = 128;

/// What a page may load: its own files, nothing from elsewhere, and nobody may frame it. At the end
/// comes what its script may read: its own server and the peers.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                              img-src 'self'; base-uri 'none'; form-action 'none'; \
                              frame-ancestors 'none'; connect-src 'self'";

/// What there is to read.
pub trait Site: Send + Sync + 'static {
    /// The answer at a path, which has no query; none if there is nothing. Runs on the server's
    /// thread: it must not wait for anything that may take long.
    fn answer(&self, path: &str) -> Option<Answer>;
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code, as 200.
    pub status: u16,
    /// As `text/plain; charset=utf-8`.
    pub content_type: &'static str,
    /// All of it.
    pub body: Vec<u8>,
    /// Whether pages of the peers may read it.
    pub is_for_peers: bool,
}

impl Answer {
    /// A text for people.
    #[must_use]
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let body = text.into().into_bytes();
        Self { status, content_type: "text/plain; charset=utf-8", body, is_for_peers: false }
    }
}

/// What every answer depends on.
struct Served {
    address: SocketAddr,
    site: Arc<dyn Site>,
    peers: Peers,
    content_policy: HeaderValue,
}

/// A server that runs. Dropping it ends it.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Listens on an address, whose port may be 0: the system chooses.
    pub fn start(address: SocketAddr, site: Arc<dyn Site>, peers: Peers) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let content_policy = content_policy(&peers);
        let served = Arc::new(Served { address, site, peers, content_policy });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(async {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return log::error!("the admin port cannot be served: {error}"),
                };
                tokio::select! {
                    () = accept(listener, served) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        // Dropping the sender ends the thread.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was told of.
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn content_policy(peers: &Peers) -> HeaderValue {
    let peers: String = peers.iter().map(|peer| format!(" http://{peer}")).collect();
    let policy = HeaderValue::try_from(format!("{CONTENT_POLICY}{peers}"));
    policy.expect("letters, digits and marks that a header may have")
}

async fn accept(listener: tokio::net::TcpListener, served: Arc<Served>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let served = Arc::clone(&served);
        tokio::spawn(async move {
            serve(socket, &served).await;
            drop(place);
        });
    }
}

/// Answers the requests of one connection.
async fn serve(socket: TcpStream, served: &Served) {
    // Without it answers are later, nothing else.
    let _ = socket.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(respond(&request, served))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    // A peer that breaks the rules or goes away is no news.
    if tokio::time::timeout(CONNECTION_TIME_MAX, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_ANSWER_TIME_MAX, connection).await;
    }
}

fn respond<B>(request: &Request<B>, served: &Served) -> Response<Full<Bytes>> {
    let answer = if !is_meant_for(request.headers(), served.address.ip()) {
        Answer::text(421, "This server is reached by its address or as localhost only.\n")
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        Answer::text(405, "This server is for reading only.\n")
    } else {
        let found = served.site.answer(request.uri().path());
        found.unwrap_or_else(|| Answer::text(404, "There is nothing here.\n"))
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if answer.status == 405 {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    if answer.is_for_peers {
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin_of_peer(request, &served.peers) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(header::CONTENT_SECURITY_POLICY, served.content_policy.clone());
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Where the page comes from whose script asks, if that is a peer. A browser tells it, and hands
/// the answer to the script only if it is named there.
fn origin_of_peer<'a, B>(request: &'a Request<B>, peers: &Peers) -> Option<&'a HeaderValue> {
    let origin = request.headers().get(header::ORIGIN)?;
    let is_peer = origin.to_str().is_ok_and(|origin| peers.has_origin(origin));
    (request.method() == Method::GET && is_peer).then_some(origin)
}

/// A browser on this machine can be led to a loopback address under a name of somebody else's,
/// whose scripts could then read the answers. So there only an address or `localhost` will do.
fn is_meant_for(headers: &HeaderMap, own: IpAddr) -> bool {
    if !own.is_loopback() {
        return true;
    }
    let Some(host) = headers.get(header::HOST) else { return true };
    let host = host.to_str().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;

    use super::*;

    struct Echo;

    impl Site for Echo {
        fn answer(&self, path: &str) -> Option<Answer> {
            let is_for_peers = path == "/shared";
            (path != "/nothing").then(|| Answer { is_for_peers, ..Answer::text(200, path) })
        }
    }

    fn server() -> AdminServer {
        let peers = Peers::parse("10.0.0.1:10200,node-2:10200").unwrap();
        AdminServer::start((Ipv4Addr::LOCALHOST, 0).into(), Arc::new(Echo), peers).unwrap()
    }

    /// Sends bytes and receives up to the end.
    fn ask(server: &AdminServer, bytes: &str) -> String {
        let mut socket = std::net::TcpStream::connect(server.address()).unwrap();
        // The server may have hung up already.
        let _ = socket.write_all(bytes.as_bytes());
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer);
        answer
    }

    fn get(server: &AdminServer, line: &str, host: &str) -> String {
        ask(server, &format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    #[test]
    fn a_path_is_answered_without_its_query() {
        let server = server();
        let answer = get(&server, "GET /a/b?c=d", "localhost:1");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n/a/b"), "{answer}");
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
        let head = get(&server, "HEAD /a", "localhost");
        assert!(head.contains("content-length: 2\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn only_reading_is_allowed_and_nothing_is_404() {
        let server = server();
        assert!(get(&server, "GET /nothing", "127.0.0.1").starts_with("HTTP/1.1 404 "));
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = get(&server, &format!("{method} /"), "127.0.0.1");
            assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
            assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
        }
    }

    #[test]
    fn a_loopback_server_answers_to_no_strange_name() {
        let server = server();
        for (host, status) in
            [("evil.example:80", 421), ("localhost", 200), ("127.0.0.1:9", 200), ("[::1]:9", 200)]
        {
            let answer = get(&server, "GET /", host);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
        }
    }

    #[test]
    fn pages_of_peers_may_read_what_is_shared_and_nobody_else_may() {
        let server = server();
        let allowed = |method: &str, path: &str, origin: &str| {
            let host = format!("localhost\r\nOrigin: {origin}");
            let answer = get(&server, &format!("{method} {path}"), &host);
            let head = answer.split("\r\n\r\n").next().unwrap();
            let mut lines = head.lines();
            lines.find_map(|line| line.strip_prefix("access-control-allow-").map(str::to_owned))
        };
        for origin in ["http://10.0.0.1:10200", "http://node-2:10200"] {
            assert_eq!(allowed("GET", "/shared", origin), Some(format!("origin: {origin}")));
            for (method, path) in [
                ("GET", "/other"),
                ("GET", "/shared/"),
                ("HEAD", "/shared"),
                ("POST", "/shared"),
                ("OPTIONS", "/shared"),
            ] {
                assert_eq!(allowed(method, path, origin), None, "{method} {path}");
            }
        }
        for origin in ["http://evil.example", "https://node-2:10200", "http://node-2", "null", "*"]
        {
            assert_eq!(allowed("GET", "/shared", origin), None, "{origin}");
        }
        let answer = get(&server, "GET /", "localhost");
        let policy = "connect-src 'self' http://10.0.0.1:10200 http://node-2:10200\r\n";
        assert!(answer.contains(policy), "{answer}");
    }

    #[test]
    fn a_head_beyond_the_limits_is_refused() {
        let server = server();
        let long = "x".repeat(2 * HEAD_BYTES_MAX);
        let answer =
            ask(&server, &format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"));
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        let many = "X: y\r\n".repeat(HEADERS_MAX + 1);
        let answer = ask(&server, &format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"));
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[test]
    fn connections_beyond_the_limit_are_closed_and_others_served() {
        let server = server();
        let mut kept: Vec<_> = (0..CONNECTIONS_MAX)
            .map(|_| std::net::TcpStream::connect(server.address()).unwrap())
            .collect();
        // Each has its place when it is answered.
        for socket in &mut kept {
            socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
        }
        assert_eq!(get(&server, "GET /", "localhost"), "");
        drop(kept);
        // The places are free when the server has seen the ends.
        let mut answers = (0..100_000).map(|_| get(&server, "GET /", "localhost"));
        assert!(answers.any(|answer| answer.starts_with("HTTP/1.1 200")));
    }
}
