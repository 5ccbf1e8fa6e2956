//! Ends this process between two steps, as a power cut or the kernel would. Only in a build with
//! the feature `fault-injection`; nothing otherwise.

/// Kills this process where `/run/tenantry-die-at` names the step.
#[cfg(feature = "fault-injection")]
pub fn step(name: &str) {
    let named = std::fs::read_to_string("/run/tenantry-die-at");
    if named.is_ok_and(|named| named.trim_ascii() == name) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Nothing.
#[cfg(not(feature = "fault-injection"))]
pub fn step(_: &str) {}
