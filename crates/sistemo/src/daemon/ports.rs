//! Which hands the engine gets: this host's, or in tests simulated ones.

use super::live::Live;
use crate::api::{Contents, Guests};
use crate::config::Config;
use engine::port::{Ports, Wake};
use host::guest::{Agents, Extras, nameservers};
use host::image::HostImages;
use host::kernel::Kernels;
use host::net::HostNet;
use host::pools::HostPools;
use host::vmm::{Accel, BootSource, Qemu, VmmSettings};
use host::{Layout, clock::HostClock};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use types::{Code, Problem};

/// The ports and the guests behind them.
pub struct Opened {
    /// For the engine.
    pub ports: Ports,
    /// For the API.
    pub guests: Arc<dyn Guests>,
    /// The content of volumes, for the API.
    pub contents: Contents,
    /// Where everything is; nowhere, if it is simulated.
    pub layout: Option<Layout>,
}

/// Opens the ports; `ssh_key` is the line that opens a guest's login, `wake` is told of news. Sessions
/// run on the runtime of the caller.
pub fn open(config: &Config, ssh_key: Option<&str>, wake: Wake) -> Result<Opened, Problem> {
    #[cfg(debug_assertions)]
    if std::env::var_os("SISTEMO_SIM").is_some() {
        return Ok(super::sim::open(&wake));
    }
    let runtime = tokio::runtime::Handle::current();
    let layout = Layout::new(&config.data_dir, run_dir(config));
    let (agent, missing) = match super::agent::find() {
        Ok(agent) => (agent, None),
        Err(problem) => {
            tracing::error!(code = %problem.code, "{problem}; no machine starts without, all else is looked after");
            (Cow::default(), Some(problem))
        }
    };
    let kernels = Arc::new(Kernels::new(layout.clone(), agent, config.kernel.clone().map(PathBuf::from)));
    let agents = Agents::new(layout.clone(), runtime.clone(), Arc::clone(&wake));
    let extras = Extras {
        authorized_keys: ssh_key.map(str::to_owned).into_iter().collect(),
        nameservers: match config.dns.as_slice() {
            [] => nameservers(),
            set => set.iter().map(ToString::to_string).collect(),
        },
    };
    let qemu = Arc::new(Qemu::new(
        layout.clone(),
        boot_source(Arc::clone(&kernels), missing),
        Arc::new(host::kernel::boot_archive),
        extras,
        VmmSettings { accel: accel(config) },
        runtime.clone(),
        wake,
    ));
    let pools = Arc::new(HostPools::open(layout.clone())?);
    let files = Arc::clone(&pools);
    let ports = Ports {
        pools,
        images: Arc::new(HostImages::open(layout.clone(), kernels)?),
        vmm: Arc::clone(&qemu) as Arc<dyn engine::port::Vmm>,
        net: Arc::new(HostNet::new(runtime)),
        guest: Arc::new(agents.clone()),
        clock: Arc::new(clock()?),
    };
    let contents: Contents = Arc::new(move |pool| files.files(pool));
    Ok(Opened { ports, guests: Arc::new(Live { agents, qemu }), contents, layout: Some(layout) })
}

/// What gives the files to boot with; without an agent there are none, whatever the kernel.
fn boot_source(kernels: Arc<Kernels>, no_agent: Option<Problem>) -> BootSource {
    Arc::new(move |version| match &no_agent {
        Some(problem) => Err(problem.clone().into()),
        None => kernels.boot_files(version),
    })
}

/// This host's clock. `SISTEMO_BOOT_ID` (debug builds only) stands for the next boot in tests, which
/// cannot boot the host.
fn clock() -> Result<HostClock, Problem> {
    #[cfg(debug_assertions)]
    if let Ok(boot) = std::env::var("SISTEMO_BOOT_ID") {
        return Ok(HostClock::of_boot(boot));
    }
    HostClock::new().map_err(|e| Problem::new(Code::Internal, format!("/proc is missing: {e}")))
}

/// Sockets of machines: they need short paths, and go with the host's boot.
fn run_dir(config: &Config) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return "/run/sistemo".into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) => PathBuf::from(dir).join("sistemo"),
        None => config.data_dir.join("run"),
    }
}

fn accel(config: &Config) -> Accel {
    match config.accel.as_str() {
        "kvm" => Accel::Kvm,
        "tcg" => Accel::Tcg,
        _ => Accel::Auto,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_agent_a_start_says_so_and_nothing_else_fails() {
        let dir = tempfile::tempdir().unwrap();
        let kernels = || Arc::new(Kernels::new(Layout::new(dir.path(), dir.path()), Cow::default(), None));
        let no_agent = Problem::new(Code::ToolMissing, "there is no guest agent");
        let code = |missing| boot_source(kernels(), missing)("6.1").unwrap_err().problem.code;
        assert_eq!([code(Some(no_agent)), code(None)], [Code::ToolMissing, Code::NoKernel]);
    }
}
