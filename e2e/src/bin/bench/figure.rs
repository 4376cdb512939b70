//! Measuring and printing.

use std::time::{Duration, Instant};

/// The middle one.
pub fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// How long `f` takes.
pub fn time(f: impl FnOnce()) -> Duration {
    let began = Instant::now();
    f();
    began.elapsed()
}

/// Seconds as milliseconds, for a reader.
pub fn ms(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

/// Prints a line; `limit` is what the project promises.
pub fn line(what: &str, ratio: f64, limit: f64, measured: &str) {
    let verdict = if ratio <= limit { "" } else { "   OVER" };
    println!("{what:<58} {ratio:>8.2} {limit:>8.2}   {measured}{verdict}");
}

/// Prints a line whose `limit` is the least that the project promises.
pub fn at_least(what: &str, ratio: f64, limit: f64, measured: &str) {
    let verdict = if ratio >= limit { "" } else { "   UNDER" };
    println!("{what:<58} {ratio:>8.2} {limit:>7.2}+   {measured}{verdict}");
}
