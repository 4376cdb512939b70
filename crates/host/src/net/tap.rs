//! Taps: the host's end of a guest's interface.
//!
//! Invariant: a tap is persistent before it has any other property, so it is there or not, never
//! half; its flags are the same whenever it is opened (the kernel refuses others).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};

/// The device that taps are made and opened by.
pub const DEVICE: &str = "/dev/net/tun";

/// Ethernet frames, no packet information in front, and virtio's header, so that checksums and
/// segmentation are left to whoever they cost least.
const FLAGS: i16 = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as i16;

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` holds integers and arrays of them only, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() || !name.is_ascii() {
        return Err(ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = FLAGS;
    Ok(request)
}

/// Opens the tap of this name, and makes it if there is none (until the descriptor is closed).
fn attach(name: &str) -> io::Result<File> {
    let request = request(name)?;
    let file = OpenOptions::new().read(true).write(true).open(DEVICE)?;
    // SAFETY: TUNSETIFF reads an `ifreq`, which `request` is and which outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw const request) })?;
    Ok(file)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes a persistent tap that `uid` may open.
pub fn create(name: &str, uid: u32) -> io::Result<()> {
    let file = attach(name)?;
    // SAFETY: TUNSETOWNER takes a number.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOWNER as _, libc::c_ulong::from(uid)) })?;
    // SAFETY: TUNSETPERSIST takes a number.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETPERSIST as _, 1 as libc::c_ulong) })
}

/// Opens a tap that is there already.
///
/// # Errors
/// `NotFound` if there is none of this name; `ResourceBusy` while another process has it open.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    // TUNSETIFF would make one that nobody put into a bridge.
    request(name)?;
    rustix::net::netdevice::name_to_index(
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?,
        name,
    )
    .map_err(|e| match e {
        rustix::io::Errno::NODEV => ErrorKind::NotFound.into(),
        e => io::Error::from(e),
    })?;
    Ok(attach(name)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_fit_are_refused() {
        assert!(request("").is_err());
        assert!(request("sixteen-chars-xx").is_err());
        assert!(request("st0123456789ab").is_ok());
    }
}
