//! Stands in for the engine until it is there.
#![allow(missing_docs, unused_variables, clippy::missing_errors_doc)]
use std::sync::Arc;
use types::image::*;
use types::machine::*;
use types::network::*;
use types::operation::*;
use types::volume::*;
use types::*;
#[derive(Clone)]
pub struct Engine;
type R<T> = Result<T, Problem>;
fn no<T>() -> R<T> {
    Err(Problem::new(Code::NotYet, "stub"))
}
impl Engine {
    pub fn deploy(&self, actor: &Actor, req: DeployMachine) -> R<Operation> {
        no()
    }
    pub fn start_machine(&self, actor: &Actor, m: &str) -> R<Operation> {
        no()
    }
    pub fn stop_machine(&self, actor: &Actor, m: &str) -> R<Operation> {
        no()
    }
    pub fn restart_machine(&self, actor: &Actor, m: &str) -> R<Operation> {
        no()
    }
    pub fn delete_machine(&self, actor: &Actor, m: &str, p: bool) -> R<Operation> {
        no()
    }
    pub fn plan_delete(&self, m: &str, p: bool) -> R<DeletePlan> {
        no()
    }
    pub fn attach_volume(&self, actor: &Actor, m: &str, a: AttachVolume) -> R<Operation> {
        no()
    }
    pub fn detach_volume(&self, actor: &Actor, m: &str, a: DetachVolume) -> R<Operation> {
        no()
    }
    pub fn create_volume(&self, actor: &Actor, a: CreateVolume) -> R<Operation> {
        no()
    }
    pub fn resize_volume(&self, actor: &Actor, v: &str, a: ResizeVolume) -> R<Operation> {
        no()
    }
    pub fn delete_volume(&self, actor: &Actor, v: &str) -> R<Operation> {
        no()
    }
    pub fn pull_image(&self, actor: &Actor, a: PullImage) -> R<Operation> {
        no()
    }
    pub fn delete_image(&self, actor: &Actor, v: &str) -> R<Operation> {
        no()
    }
    pub fn machines(&self) -> R<Vec<Machine>> {
        no()
    }
    pub fn machine(&self, m: &str) -> R<Machine> {
        no()
    }
    pub fn volumes(&self) -> R<Vec<Volume>> {
        no()
    }
    pub fn volume(&self, m: &str) -> R<Volume> {
        no()
    }
    pub fn images(&self) -> R<Vec<Image>> {
        no()
    }
    pub fn image(&self, m: &str) -> R<Image> {
        no()
    }
    pub fn networks(&self) -> R<Vec<Network>> {
        no()
    }
    pub fn network(&self, m: &str) -> R<Network> {
        no()
    }
    pub fn operations(&self, limit: usize) -> R<Vec<Operation>> {
        no()
    }
    pub fn operation(&self, id: OperationId) -> R<Operation> {
        no()
    }
    pub fn history(&self, limit: usize) -> R<Vec<HistoryEntry>> {
        no()
    }
    pub fn refused(&self, actor: &Actor, verb: Verb, target: Target, problem: &Problem) {}
    pub fn running(&self, m: &str) -> R<(MachineId, RunId)> {
        no()
    }
    pub fn on_operation(&self, f: Arc<dyn Fn(&Operation) + Send + Sync>) {}
}
impl Engine {
    pub fn start(&self) {}
    pub fn drain(&self, deadline: std::time::Duration) {}
}
