//! The figures: what Sistemo adds to the bare tools, each beside a baseline of the same run.
//!
//! Every line is a ratio, or a count that does not depend on the machine's speed; absolute times stand
//! behind it only so that a reader sees the order of magnitude. Run by `scripts/bench`.

mod blocks;
mod copies;
mod df;
mod export;
mod figure;
mod http;
mod listing;
mod live;
mod machine;
mod pause;
mod volumes;

use e2e::Host;

fn main() {
    if let [_, serve, file] = &*std::env::args().collect::<Vec<_>>() {
        if serve == http::SERVE {
            return http::serve(file.as_ref());
        }
    }
    println!("{:<58} {:>8} {:>8}   measured", "figure", "ratio", "at most");
    let only: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    if wanted("volumes") {
        let host = Host::empty("bench-volumes");
        volumes::create(&host);
        volumes::resize(&host);
    }
    if wanted("clone") {
        volumes::clone_on("ext4", 1.1);
        volumes::clone_on("xfs", 2.0);
        copies::of_volumes();
    }
    if wanted("df") {
        df::of_many();
    }
    if wanted("machine") {
        machine::start(&Host::seeded("bench-machine"));
    }
    if wanted("live") {
        live::attach_and_grow(&Host::seeded("bench-live"));
    }
    if wanted("export") {
        export::compressed(&Host::seeded("bench-export"));
    }
    if wanted("pause") {
        pause::by_snapshots(&Host::seeded("bench-pause"));
    }
    if wanted("fio") {
        blocks::pairs(&Host::seeded("bench-fio"));
    }
    // It takes a quarter of an hour.
    if only.iter().any(|o| o == "blocks") {
        blocks::search(&Host::seeded("bench-blocks"));
    }
    if wanted("listing") {
        listing::many();
    }
    if wanted("http") {
        http::lists();
    }
}
