//! `/metrics`, in the text format of Prometheus.
//!
//! Invariant: what the daemon counts is counted in a few atomics and never blocks a request; what
//! can be looked at is looked at when somebody asks.

use super::call::call;
use super::problem::Failure;
use super::usage::Seen;
use super::{ProblemBody, Shared};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use types::machine::Phase;
use types::volume::AttachStatus;
use types::{Operation, OperationState};

/// How long what was seen is told again.
const FRESH: Duration = Duration::from_secs(2);
/// Upper ends of the buckets of HTTP durations, in seconds.
const HTTP: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 60.0];
/// Upper ends of the buckets of operations' durations, in seconds.
const OPERATIONS: [f64; 8] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];

/// How often something lasted how long.
#[derive(Clone, Default)]
struct Histogram {
    buckets: [u64; 8],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn add(&mut self, seconds: f64, ends: &[f64; 8]) {
        for (bucket, end) in self.buckets.iter_mut().zip(ends) {
            *bucket += u64::from(seconds <= *end);
        }
        self.count += 1;
        self.sum += seconds;
    }

    fn write(&self, out: &mut String, name: &str, labels: &str, ends: &[f64; 8]) {
        for (bucket, end) in self.buckets.iter().zip(ends) {
            put(out, &format!("{name}_bucket{{{labels},le=\"{end}\"}} {bucket}"));
        }
        put(out, &format!("{name}_bucket{{{labels},le=\"+Inf\"}} {}", self.count));
        put(out, &format!("{name}_sum{{{labels}}} {}", self.sum));
        put(out, &format!("{name}_count{{{labels}}} {}", self.count));
    }
}

#[derive(Default)]
struct Counted {
    /// By method and status.
    http: BTreeMap<(&'static str, u16), Histogram>,
    /// By verb and outcome.
    operations: BTreeMap<(&'static str, &'static str), Histogram>,
}

/// What the daemon has counted since it began, and what it last saw of guests and files.
#[derive(Default)]
pub struct Metrics(Mutex<Counted>, tokio::sync::Mutex<Option<(Instant, Arc<Seen>)>>);

impl Metrics {
    /// What guests use and volumes occupy. Whoever asks often gets the same again: looking takes some
    /// files for each machine and volume.
    async fn seen(&self, app: &Shared) -> Result<Arc<Seen>, Failure> {
        let mut last = self.1.lock().await;
        if let Some((at, seen)) = &*last {
            if at.elapsed() < FRESH {
                return Ok(seen.clone());
            }
        }
        let guests = app.guests.clone();
        let seen = Arc::new(call(app, move |engine| Seen::look(engine, &*guests)).await?);
        *last = Some((Instant::now(), seen.clone()));
        Ok(seen)
    }

    /// Counts a request.
    pub(super) fn request(&self, method: &axum::http::Method, status: u16, took: Duration) {
        // A method that somebody made up must not make a row of its own.
        let known = ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"];
        let method = known.into_iter().find(|m| *m == method.as_str()).unwrap_or("other");
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.http.entry((method, status)).or_default().add(took.as_secs_f64(), &HTTP);
    }

    /// Counts an operation once it has ended.
    pub fn operation(&self, operation: &Operation) {
        let outcome = match operation.state {
            OperationState::Running => return,
            OperationState::Succeeded => "succeeded",
            OperationState::Failed => "failed",
        };
        let took = operation.ended_at.map_or(0, |at| at.millis() - operation.created_at.millis());
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = counted.operations.entry((operation.verb.as_str(), outcome)).or_default();
        histogram.add(took.max(0) as f64 / 1000.0, &OPERATIONS);
    }

    fn write(&self, out: &mut String) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        about(out, "sistemo_http_request_duration_seconds", "histogram", "How long answers took to begin");
        for ((method, status), histogram) in &counted.http {
            let labels = format!("method=\"{method}\",status=\"{status}\"");
            histogram.write(out, "sistemo_http_request_duration_seconds", &labels, &HTTP);
        }
        about(out, "sistemo_operation_duration_seconds", "histogram", "How long operations took");
        for ((verb, outcome), histogram) in &counted.operations {
            let labels = format!("verb=\"{verb}\",outcome=\"{outcome}\"");
            histogram.write(out, "sistemo_operation_duration_seconds", &labels, &OPERATIONS);
        }
    }
}

pub(super) fn put(out: &mut String, line: &str) {
    // A text takes all.
    let _ = writeln!(out, "{line}");
}

pub(super) fn about(out: &mut String, name: &str, kind: &str, help: &str) {
    put(out, &format!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

/// Tells what the daemon counts and sees, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "status",
    operation_id = "metrics",
    responses(
        (status = 200, description = "The numbers", body = String, content_type = "text/plain"),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn metrics(State(app): State<Shared>) -> Result<Response, Failure> {
    let capacity = app.capacity.clone();
    let seen = app.metrics.seen(&app).await?;
    let (machines, volumes, images, passes, revision, pools) = call(&app, move |engine| {
        let room = capacity();
        Ok((
            engine.machines()?,
            engine.volumes()?,
            engine.images()?.len(),
            engine.passes(),
            engine.revision()?,
            // A pool that cannot be looked at is missing, which an alarm can see.
            room.unwrap_or_default(),
        ))
    })
    .await?;
    let mut out = String::with_capacity(4096);
    about(&mut out, "sistemo_build_info", "gauge", "The version that runs");
    put(&mut out, &format!("sistemo_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
    about(&mut out, "sistemo_start_time_seconds", "gauge", "When the daemon began");
    put(&mut out, &format!("sistemo_start_time_seconds {}", app.about.started_at.millis() as f64 / 1000.0));
    about(&mut out, "sistemo_machines", "gauge", "Machines by phase");
    for phase in [
        Phase::Creating,
        Phase::Starting,
        Phase::Running,
        Phase::Stopping,
        Phase::Stopped,
        Phase::Deleting,
        Phase::Failed,
    ] {
        let n = machines.iter().filter(|m| m.phase == phase).count();
        put(&mut out, &format!("sistemo_machines{{phase=\"{phase}\"}} {n}"));
    }
    about(&mut out, "sistemo_volumes", "gauge", "Volumes by status");
    for status in [AttachStatus::Attached, AttachStatus::Detached] {
        let n = volumes.iter().filter(|v| v.status == status).count();
        put(&mut out, &format!("sistemo_volumes{{status=\"{status}\"}} {n}"));
    }
    about(&mut out, "sistemo_volume_bytes", "gauge", "The logical size of each volume");
    for v in &volumes {
        let (name, role) = (&v.name, v.role);
        put(&mut out, &format!("sistemo_volume_bytes{{volume=\"{name}\",role=\"{role}\"}} {}", v.size_bytes));
    }
    seen.write(&mut out);
    about(&mut out, "sistemo_images", "gauge", "Images");
    put(&mut out, &format!("sistemo_images {images}"));
    about(&mut out, "sistemo_pool_bytes", "gauge", "The size of the file system a pool is on");
    for pool in &pools {
        put(&mut out, &format!("sistemo_pool_bytes{{pool=\"{}\"}} {}", pool.name, pool.total_bytes));
    }
    about(&mut out, "sistemo_pool_free_bytes", "gauge", "What is free there");
    for pool in &pools {
        put(&mut out, &format!("sistemo_pool_free_bytes{{pool=\"{}\"}} {}", pool.name, pool.free_bytes));
    }
    about(&mut out, "sistemo_pool_committed_bytes", "gauge", "What all volumes in it may grow to");
    for pool in &pools {
        put(
            &mut out,
            &format!("sistemo_pool_committed_bytes{{pool=\"{}\"}} {}", pool.name, pool.committed_bytes),
        );
    }
    about(&mut out, "sistemo_reconciler_passes_total", "counter", "How often everything was looked at");
    put(&mut out, &format!("sistemo_reconciler_passes_total {passes}"));
    about(&mut out, "sistemo_store_revision", "counter", "The store's revision");
    put(&mut out, &format!("sistemo_store_revision {revision}"));
    app.metrics.write(&mut out);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out).into_response())
}
