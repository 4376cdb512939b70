//! The daemon: puts store, host, engine and API together and ends them in order.
//!
//! Invariant: one daemon per data directory (a lock, held from before the first look at the store
//! until the process ends); machines outlive it.

pub(crate) mod agent;
mod datadir;
mod key;
mod limits;
mod live;
mod lock;
mod logging;
mod manager;
mod ports;
pub mod recover;
mod reload;
mod setup;
mod signals;
#[cfg(debug_assertions)]
mod sim;
mod socket;
mod tcp;
mod tls;
mod wire;

use crate::api;
use crate::config::Config;
use std::time::Duration;
use tokio::sync::watch;
use types::{Code, Problem};

/// How long steps that nobody asked for may take once the operations are done.
const LAST_STEPS: Duration = Duration::from_secs(5);
/// How long the API stays after the last operation: whoever followed it asks what came of it.
const LAST_QUESTIONS: Duration = Duration::from_secs(2);
/// How long answers under way may take once the steps are done.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// `daemon-running`, `data-dir-invalid`, and whatever keeps store or host from being opened.
pub fn up(config: Config) -> Result<(), Problem> {
    limits::set();
    let logging = logging::init(&config.log, config.log_json)?;
    datadir::make(&config.data_dir)?;
    let _lock = lock::take(&config.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_stack_size(1 << 20)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()
        .map_err(|e| Problem::new(Code::Internal, format!("cannot begin: {e}")))?;
    let ended = runtime.block_on(run(config, logging));
    // Whatever still blocks in a thread must not hold up the end: a step that is cut short is
    // taken up again by the next daemon.
    runtime.shutdown_background();
    ended
}

async fn run(mut config: Config, logging: logging::Logging) -> Result<(), Problem> {
    let mut signals = signals::Signals::new()?;
    let (stop, stopping) = watch::channel(false);
    let wired = wire::wire(&config, stopping.clone())?;
    let listener = socket::bind(&config.socket(), wired.layout.as_ref())?;
    let tcp = tcp::bind(&config).await?;
    wired.engine.start();
    if let Some(tcp) = &tcp {
        setup::announce(tcp, &wired.app).await?;
    }
    let app = wired.app.clone();
    let router = api::router(wired.app);
    let out_there = tcp.map(|tcp| api::serve(tcp.listener, router.clone(), stopping.clone()));
    let here = api::serve(listener, router, stopping);
    let server = tokio::spawn(async move {
        tokio::join!(here, futures_util::future::OptionFuture::from(out_there));
    });
    tracing::info!("sistemo {} is up, data in {}", env!("CARGO_PKG_VERSION"), config.data_dir.display());
    manager::tell(sd_notify::NotifyState::Ready);
    manager::watch(&wired.engine);

    let signal = loop {
        match signals.next().await {
            signals::Came::Hup => reload::reload(&mut config, &logging, &app),
            signal => break signal,
        }
    };
    tracing::info!("{signal}: ending; machines go on running. Once more to leave at once");
    manager::tell(sd_notify::NotifyState::Stopping);
    let again = async {
        loop {
            match signals.next().await {
                signals::Came::Hup => tracing::warn!("SIGHUP: the settings are not read again at the end"),
                signal => break signal,
            }
        }
    };
    tokio::select! {
        () = end(&wired.engine, &config, &stop, server) => tracing::info!("ended"),
        signal = again => {
            tracing::warn!("{signal}: leaving at once; the next daemon takes up what is under way");
            socket::remove(&config.socket());
        }
    }
    Ok(())
}

/// Ends in order: no more changes, the operations under way, the steps, the answers. Until the steps
/// are done the API answers, so that whoever follows an operation sees its end.
async fn end(
    engine: &engine::Engine,
    config: &Config,
    stop: &watch::Sender<bool>,
    server: tokio::task::JoinHandle<()>,
) {
    engine.refuse_changes();
    let (waiting, deadline) = (engine.clone(), config.shutdown_timeout);
    let done = tokio::task::spawn_blocking(move || {
        let idle = waiting.finish(Duration::ZERO);
        let finished = idle || waiting.finish(deadline);
        (idle, finished, waiting.drain(LAST_STEPS))
    });
    let done = done.await;
    match done {
        Ok((_, true, true)) => {}
        Ok((_, false, _)) => {
            tracing::warn!("some operations did not end in time; the next daemon takes them up")
        }
        Ok((_, true, false)) => {
            tracing::warn!("some steps did not end in time; the next daemon takes them up")
        }
        Err(ref e) => tracing::error!("the operations under way did not end well: {e}"),
    }
    if matches!(done, Ok((false, true, _))) {
        tokio::time::sleep(LAST_QUESTIONS).await;
    }
    let _ = stop.send(true);
    // Only ours: another daemon may have replaced it once the lock is free.
    socket::remove(&config.socket());
    if tokio::time::timeout(LAST_ANSWERS, server).await.is_err() {
        tracing::warn!("some connections were cut");
    }
}
