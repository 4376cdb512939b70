//! The API over TCP, beside a bare handler that returns the same bytes.
//!
//! Both servers are processes of their own and are asked in turn by the same threads, so what else the
//! host does falls on both.

use super::figure::{at_least, line, median, ms};
use e2e::Host;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What makes this program the bare server.
pub const SERVE: &str = "--serve";
const CONNECTIONS: usize = 16;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

/// Serves the bytes of a file at every address, and says where.
pub fn serve(file: &Path) {
    let bytes = axum::body::Bytes::from(std::fs::read(file).expect("the file is there"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let answer = move || {
            let bytes = bytes.clone();
            async move { ([("content-type", "application/json")], bytes) }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        axum::serve(listener, axum::Router::new().fallback(answer)).await.expect("it serves");
    });
}

/// A connection that is kept.
struct Asker {
    stream: BufReader<TcpStream>,
    request: Vec<u8>,
}

impl Asker {
    fn new(at: SocketAddr, request: &str, token: &str, body: &str) -> Self {
        let stream = TcpStream::connect(at).expect("it connects");
        stream.set_nodelay(true).expect("a socket");
        let length = body.len();
        let request = format!(
            "{request} HTTP/1.1\r\nhost: {at}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        Self { stream: BufReader::with_capacity(256 << 10, stream), request: request.into_bytes() }
    }

    /// Asks once; the answer's body.
    fn ask(&mut self) -> Vec<u8> {
        self.stream.get_mut().write_all(&self.request).expect("it is sent");
        let (mut length, mut chunked, mut first) = (0, false, true);
        loop {
            let mut head = String::new();
            self.stream.read_line(&mut head).expect("an answer");
            let head = head.trim_end().to_ascii_lowercase();
            assert!(!first || head.contains(" 20"), "{head}");
            first = false;
            match head.split_once(": ") {
                Some(("content-length", n)) => length = n.parse().expect("a number"),
                Some(("transfer-encoding", how)) => chunked = how == "chunked",
                None if head.is_empty() => break,
                _ => {}
            }
        }
        if !chunked {
            return self.take(length);
        }
        let mut body = Vec::new();
        loop {
            let mut size = String::new();
            self.stream.read_line(&mut size).expect("a chunk");
            let size = usize::from_str_radix(size.trim(), 16).expect("a size");
            body.extend(self.take(size));
            self.take(2);
            if size == 0 {
                return body;
            }
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).expect("the rest");
        bytes
    }
}

/// Requests per second of as many connections as go.
fn load(at: SocketAddr, token: &str) -> f64 {
    let began = Instant::now();
    let asked: usize = std::thread::scope(|s| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                s.spawn(|| {
                    let mut asker = Asker::new(at, "GET /v1/volumes?limit=1000", token, "");
                    let mut n = 0;
                    while began.elapsed() < ROUND {
                        asker.ask();
                        n += 1;
                    }
                    n
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().expect("it ends")).sum()
    });
    asked as f64 / began.elapsed().as_secs_f64()
}

/// How long answers take at that many requests a second, while another client writes: p50 and p99.
fn latencies(at: SocketAddr, token: &str, rate: f64) -> (f64, f64) {
    let over = AtomicBool::new(false);
    let each = Duration::from_secs_f64(CONNECTIONS as f64 / rate);
    let mut took: Vec<f64> = std::thread::scope(|s| {
        s.spawn(|| {
            // As large as it is: accepted, written down, and nothing changes.
            let body = format!("{{\"size_bytes\": {}}}", 16 << 20);
            let mut writer = Asker::new(at, "POST /v1/volumes/v0/resize", token, &body);
            while !over.load(Ordering::Relaxed) {
                writer.ask();
            }
        });
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|n| {
                s.spawn(move || {
                    let mut asker = Asker::new(at, "GET /v1/volumes?limit=1000", token, "");
                    let mut due = Instant::now() + each.mul_f64(n as f64 / CONNECTIONS as f64);
                    let end = due + 3 * ROUND;
                    let mut took = Vec::new();
                    while due < end {
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        asker.ask();
                        // From when it was to be asked: one that waits behind another counts too.
                        took.push(due.elapsed().as_secs_f64());
                        due += each;
                    }
                    took
                })
            })
            .collect();
        let took = threads.into_iter().flat_map(|t| t.join().expect("it ends")).collect();
        over.store(true, Ordering::Relaxed);
        took
    });
    took.sort_by(f64::total_cmp);
    (took[took.len() / 2], took[took.len() * 99 / 100])
}

struct Bare(Child, SocketAddr);

impl Bare {
    fn new(file: &Path) -> Self {
        let me = std::env::current_exe().expect("this program");
        let mut child =
            Command::new(me).arg(SERVE).arg(file).stdout(Stdio::piped()).spawn().expect("it can be run");
        let mut said = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut said).expect("it says where");
        Self(child, said.trim().parse().expect("an address"))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lists of 100 and of 1,000 volumes, and what the limiter costs of a request.
pub fn lists() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let mut host = Host::empty("bench-http");
    assert!(host.down());
    host.set("SISTEMO_LISTEN", &free.to_string());
    host.set("SISTEMO_LOG", "info");
    host.set("SISTEMO_RATE_LIMIT_RPS", "1000000");
    host.set("SISTEMO_RATE_LIMIT_BURST", "1000000");
    host.up();
    let token = host.ok("token create --role admin --quiet").trim().to_owned();
    let mut made = 0;
    for (many, least) in [(100, 0.5), (1000, 0.3)] {
        while made < many {
            host.ok(&format!("volume create 16M --name v{made} --quiet"));
            made += 1;
        }
        let body = Asker::new(free, "GET /v1/volumes?limit=1000", &token, "").ask();
        let file = host.data().join("answer.json");
        std::fs::write(&file, &body).expect("there is room");
        let bare = Bare::new(&file);
        let (mut ratios, mut ours, mut theirs) = (vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            let (a, b) = (load(free, &token), load(bare.1, &token));
            ratios.push(a / b);
            ours.push(a);
            theirs.push(b);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let measured = format!("{ours:.0} / {theirs:.0} a second, {} kB", body.len() >> 10);
        at_least(&format!("GET of {many} volumes, 16 connections / bare"), median(ratios), least, &measured);
        let (p50, p99) = latencies(free, &token, ours / 2.0);
        let measured = format!("{} / {}", ms(p99), ms(p50));
        line(
            &format!("GET of {many} volumes at half load, one writes: p99 / p50"),
            p99 / p50,
            10.0,
            &measured,
        );
        if many == 100 {
            limiter(1.0 / ours);
        }
    }
}

/// What the limiter takes of a request, in percent; a table of ten thousand addresses.
fn limiter(request: f64) {
    let limiter = sistemo::api::access::Limiter::new(1_000_000, Duration::from_secs(1), 1_000_000);
    let address = |n: u32| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n % 10_000));
    (0..10_000).for_each(|n| _ = std::hint::black_box(limiter.take(address(n))));
    let began = Instant::now();
    const TIMES: u32 = 1_000_000;
    (0..TIMES).for_each(|n| _ = std::hint::black_box(limiter.take(address(n))));
    let each = began.elapsed().as_secs_f64() / f64::from(TIMES);
    let measured = format!("{:.0} ns / {:.0} us", each * 1e9, request * 1e6);
    line("rate limiter / a request (%)", 100.0 * each / request, 2.0, &measured);
}
