//! Sessions with the host, one after the other.
//!
//! Invariant: a session begins only with a GO that answers our last ACK, and whatever a dead session
//! left behind, the next host's SYN is answered.

use super::port::Port;
use super::server::{Agent, connection};
use super::tail::Tail;
use crate::log;
use bytes::BytesMut;
use proto::preamble::{Nonce, Opening, ack, find_opening};
use rustix::rand::{GetRandomFlags, getrandom};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a frame of HTTP/2 may stay torn after what looks like a SYN: hosts write frames at once.
const TORN: Duration = Duration::from_secs(1);

/// Serves sessions on the port until it fails.
pub async fn serve(port: Port, agent: &Arc<Agent>) -> io::Error {
    let port = Arc::new(port);
    let mut bytes = BytesMut::new();
    loop {
        if let Err(e) = handshake(&port, &mut bytes).await {
            return e;
        }
        log::say("a session with the host begins");
        let seen = Arc::new(Mutex::new(Seen { tail: Tail::new(), first: std::mem::take(&mut bytes) }));
        let stream = Stream { port: port.clone(), seen: seen.clone(), torn: None };
        let outcome = connection(stream, agent.clone()).await;
        log::say(&format!("the session with the host is over{}", why(outcome)));
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        bytes = BytesMut::from(seen.tail.kept());
        bytes.unsplit(seen.first.split());
    }
}

fn why(outcome: Result<(), hyper::Error>) -> String {
    let Err(e) = outcome else { return String::new() };
    let causes = std::iter::successors(Some(&e as &dyn std::error::Error), |e| e.source());
    causes.map(|e| format!(": {e}")).collect()
}

/// Answers SYNs until the GO; what follows it stays in `bytes`.
async fn handshake(port: &Port, bytes: &mut BytesMut) -> io::Result<()> {
    let mut last: Option<Nonce> = None;
    loop {
        match find_opening(bytes, last.as_ref()) {
            Some(Opening::Go) => return Ok(()),
            Some(Opening::Syn(host)) => {
                let mut guest = Nonce::default();
                getrandom(&mut guest, GetRandomFlags::empty())?;
                last = Some(guest);
                send(port, &ack(&host, &guest)).await?;
            }
            None => receive(port, bytes).await?,
        }
    }
}

/// Waits for bytes, also while no host is there.
async fn receive(port: &Port, bytes: &mut BytesMut) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match poll_fn(|context| port.poll_read(context, &mut buffer)).await? {
            0 => poll_fn(|context| port.poll_edge(context)).await?,
            n => {
                bytes.extend_from_slice(&buffer[..n]);
                return Ok(());
            }
        }
    }
}

async fn send(port: &Port, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = poll_fn(|context| port.poll_write(context, bytes)).await?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// What a session has read, and what it has not.
struct Seen {
    tail: Tail,
    /// What came together with the GO.
    first: BytesMut,
}

/// The bytes of one session.
struct Stream {
    port: Arc<Port>,
    seen: Arc<Mutex<Seen>>,
    torn: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut seen = this.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let n = if seen.first.is_empty() {
            match this.port.poll_read(context, buffer.initialize_unfilled()) {
                Poll::Ready(n) => n?,
                Poll::Pending => {
                    if let Some(torn) = &mut this.torn {
                        // An end: the frame will not be whole any more.
                        ready!(torn.as_mut().poll(context));
                        return Poll::Ready(Ok(()));
                    }
                    return Poll::Pending;
                }
            }
        } else {
            let n = seen.first.len().min(buffer.remaining());
            buffer.initialize_unfilled_to(n).copy_from_slice(&seen.first.split_to(n));
            n
        };
        seen.tail.see(&buffer.initialized()[buffer.filled().len()..][..n]);
        if !seen.tail.broken() {
            buffer.advance(n);
            this.torn = seen.tail.suspicious().then(|| Box::pin(sleep(TORN)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.port.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::preamble::{find_ack, go, syn};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    async fn open(host: &mut UnixStream, nonce: Nonce) {
        host.write_all(&syn(&nonce)).await.unwrap();
        let mut bytes = BytesMut::new();
        let guest = loop {
            assert_ne!(host.read_buf(&mut bytes).await.unwrap(), 0);
            if let Some(guest) = find_ack(&mut bytes, &nonce) {
                break guest;
            }
        };
        host.write_all(&go(&guest)).await.unwrap();
    }

    /// Asks something as a host would, and then is gone without a word.
    async fn is_served(host: &mut UnixStream) -> bool {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let ask = async {
            let executor = hyper_util::rt::TokioExecutor::new();
            let io = hyper_util::rt::TokioIo::new(near);
            let (mut send, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
            tokio::spawn(connection);
            let body = http_body_util::Empty::<bytes::Bytes>::new();
            let request = hyper::Request::get("http://guest/v1/unheard-of").body(body).unwrap();
            send.send_request(request).await.unwrap().status() == 404
        };
        tokio::select! {
            served = ask => served,
            _ = tokio::io::copy_bidirectional(host, &mut far) => false,
        }
    }

    /// The same socket all the time: to the guest, the host was never gone.
    #[tokio::test]
    async fn a_new_host_on_the_same_stream_is_heard() {
        tokio::time::timeout(Duration::from_secs(60), hosts_come_and_go()).await.unwrap();
    }

    async fn hosts_come_and_go() {
        let (mut host, guest) = UnixStream::pair().unwrap();
        let port = Port::new(guest.into_std().unwrap().into()).unwrap();
        let agent = Agent::idle();
        let serving = tokio::spawn(async move { serve(port, &agent).await });
        open(&mut host, [1; 16]).await;
        // It dies without a word, its stream between two frames.
        assert!(is_served(&mut host).await);
        open(&mut host, [2; 16]).await;
        // This one dies in the middle of a frame.
        let preface =
            [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 60, 4, 0, 0, 0, 0, 0, 1, 2]].concat();
        host.write_all(&preface).await.unwrap();
        open(&mut host, [3; 16]).await;
        // This one after its opening, and the next within it.
        host.write_all(&syn(&[4; 16])).await.unwrap();
        host.write_all(&syn(&[4; 16])[..20]).await.unwrap();
        open(&mut host, [5; 16]).await;
        assert!(is_served(&mut host).await);
        serving.abort();
    }
}
