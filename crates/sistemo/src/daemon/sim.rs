//! Simulated ports for tests of the daemon as a process (`SISTEMO_SIM`, debug builds only): nothing
//! outside the process is touched but the store.

use super::ports::Opened;
use crate::api::{Contents, ExecRequest, Frames, Guests};
use engine::port::Wake;
use engine::sim::World;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::sync::Arc;
use std::time::Duration;
use types::operation::Kind;
use types::{Code, MachineId, Problem, RunId};

/// How often the world moves on.
const TICK: Duration = Duration::from_millis(20);

/// A world whose time passes with ours.
pub fn open(wake: &Wake) -> Opened {
    let world = World::new();
    // `SISTEMO_SIM=stubborn`: guests that never shut down by themselves.
    if std::env::var_os("SISTEMO_SIM").is_some_and(|v| v == "stubborn") {
        world.state().guests = engine::sim::Guests::Stubborn;
    }
    let ports = world.ports();
    let wake = Arc::clone(wake);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(TICK);
            world.pass(20);
            let running: Vec<_> = world.state().processes.keys().copied().collect();
            for machine in running {
                wake(Kind::Machine, machine.0);
            }
        }
    });
    let none: Contents = Arc::new(|_| Err(Problem::new(Code::NotYet, "simulated volumes have no content")));
    Opened { ports, guests: Arc::new(Silent), contents: none, layout: None }
}

/// Guests that nobody can talk to.
struct Silent;

impl Guests for Silent {
    fn exec(
        &self,
        _: MachineId,
        _: RunId,
        _: ExecRequest,
    ) -> BoxFuture<'_, Result<Box<dyn Frames>, Problem>> {
        Box::pin(async { Err(Problem::new(Code::GuestUnreachable, "a simulated guest hears nothing")) })
    }

    fn console(
        &self,
        _: MachineId,
        _: bool,
    ) -> Result<BoxStream<'static, std::io::Result<bytes::Bytes>>, Problem> {
        Ok(Box::pin(futures_util::stream::empty()))
    }
}
