//! What tests that ask an engine have in common.

use engine::Engine;
use engine::sim::World;
use engine::sim::check::at_rest;
use engine::sim::run::settle;
use types::operation::OperationState;
use types::{Actor, Operation, Problem};

/// Who asks.
pub fn ada() -> Actor {
    Actor("ada".into())
}

/// What was asked for is accepted and goes well, and then nothing disagrees.
pub fn well(world: &World, engine: &Engine, asked: Result<Operation, Problem>) {
    let operation = asked.unwrap();
    settle(world, engine);
    let ended = engine.operation(operation.id).unwrap();
    assert_eq!(ended.state, OperationState::Succeeded, "{ended:?}");
    assert_eq!(at_rest(world, engine), Vec::<String>::new());
    // Two things are never asked for at the same moment here.
    world.pass(1000);
}
