//! What NVML says of this machine's GPUs. The library comes with the driver and is loaded at run time;
//! where there is none, no GPU is read, and that is no error.
//!
//! NVML may take its time, or never answer where a GPU is broken. It is asked by a thread of its own, and
//! a round that gets no answer goes without.

pub mod busy;
pub mod places;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use nvml_wrapper::enum_wrappers::device::Sampling;
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use tenantry_model::reading::{GpuReading, GpuStat};
use tenantry_model::{Bytes, GpuName, MilliJoules, Usec};

use self::busy::{Busy, Sample};
use self::places::{Gpu, GpuKind};

/// What the driver installs; the name without the 1 belongs to the development files.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// How long a round waits for NVML.
const PATIENCE: Duration = Duration::from_secs(1);

/// NVML keeps the samples of some seconds only (14 on an H100): they are taken this often, however long a
/// round is.
const SAMPLES_EVERY: Duration = Duration::from_secs(4);

/// After how many questions NVML is looked for again: the driver may be loaded after the daemon.
const QUESTIONS_UNTIL_AGAIN: u32 = 30;

/// The GPUs at one moment, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Which there are.
    pub gpus: Vec<Gpu>,
    /// What was read of them.
    pub readings: Vec<GpuReading>,
}

/// NVML itself.
pub struct Library {
    nvml: Nvml,
    busy: BTreeMap<GpuName, Busy>,
}

impl Library {
    /// Loads it.
    ///
    /// # Errors
    /// Where there is no library, or no driver.
    pub fn load() -> Result<Self, NvmlError> {
        let nvml = Nvml::builder().lib_path(LIBRARY.as_ref()).init()?;
        Ok(Self { nvml, busy: BTreeMap::new() })
    }

    /// Reads all GPUs. What one does not tell is absent.
    ///
    /// # Errors
    /// Where NVML does not even say which there are.
    pub fn read(&mut self) -> Result<Found, NvmlError> {
        let mut found = Found::default();
        for order in 0..self.nvml.device_count()? {
            // One that has fallen off the bus is absent.
            let Ok(device) = self.nvml.device_by_index(order) else { continue };
            let minor = device.minor_number().ok();
            let is_divided = device.mig_mode().is_ok_and(|mode| mode.current == 1);
            let kind = if is_divided { GpuKind::Divided } else { GpuKind::Whole };
            read_one(
                &device,
                Gpu { name: name_of(&device)?, order, minor, kind },
                &mut self.busy,
                &mut found,
            );
            let migs = if is_divided { device.mig_device_count().unwrap_or_default() } else { 0 };
            for mig in (0..migs).filter_map(|index| device.mig_device_by_index(index).ok()) {
                let gpu = Gpu { name: name_of(&mig)?, order, minor, kind: GpuKind::Mig };
                read_one(&mig, gpu, &mut self.busy, &mut found);
            }
        }
        found.readings.sort_unstable_by(|a, b| a.gpu.cmp(&b.gpu));
        Ok(found)
    }

    /// Takes the samples of busy time, before NVML lets go of them. What fails here fails in the next reading, too.
    pub fn take_samples(&mut self) {
        for order in 0..self.nvml.device_count().unwrap_or_default() {
            let Ok(device) = self.nvml.device_by_index(order) else { continue };
            if let Some(busy) = name_of(&device).ok().and_then(|name| self.busy.get_mut(&name)) {
                add_samples(&device, busy);
            }
        }
    }
}

fn name_of(device: &Device<'_>) -> Result<GpuName, NvmlError> {
    device.uuid()?.parse().map_err(|_| NvmlError::Unknown)
}

fn read_one(device: &Device<'_>, gpu: Gpu, busy: &mut BTreeMap<GpuName, Busy>, found: &mut Found) {
    let is_mig = gpu.kind == GpuKind::Mig;
    let busy = busy.entry(gpu.name.clone()).or_default();
    // A MIG device counts neither: what its GPU counts is of all of them, and is not divided.
    let sampled = !is_mig && add_samples(device, busy);
    let known = busy.last_usec().filter(|_| sampled);
    let stat = GpuStat {
        energy_mj: device.total_energy_consumption().ok().filter(|_| !is_mig).map(MilliJoules),
        busy_usec: known.map(|_| Usec(busy.busy_usec())),
        busy_known_usec: known.map(|_| Usec(busy.known_usec())),
        memory_used_bytes: device.memory_info().ok().map(|memory| Bytes(memory.used)),
    };
    if !stat.is_empty() {
        found.readings.push(GpuReading { gpu: gpu.name.clone(), stat });
    }
    found.gpus.push(gpu);
}

/// Whether the device has samples at all.
fn add_samples(device: &Device<'_>, busy: &mut Busy) -> bool {
    match device.samples(Sampling::GpuUtilization, busy.last_usec()) {
        Ok(samples) => {
            let sample = |sample: &nvml_wrapper::struct_wrappers::device::Sample| {
                let percent = match sample.value {
                    SampleValue::U32(percent) => Some(percent),
                    SampleValue::U64(percent) => u32::try_from(percent).ok(),
                    SampleValue::I64(percent) => u32::try_from(percent).ok(),
                    SampleValue::F64(_) => None,
                };
                Some(Sample { at_usec: sample.timestamp, percent: percent? })
            };
            busy.add(&mut samples.iter().filter_map(sample).collect::<Vec<_>>());
            true
        }
        // None is later than the last one.
        Err(NvmlError::NotFound) => true,
        Err(_) => false,
    }
}

/// Asks NVML from a thread of its own.
pub struct Gpus {
    ask: SyncSender<()>,
    answers: Receiver<Found>,
    /// An answer is still to come.
    waits: bool,
}

impl Gpus {
    /// Starts the thread, which ends when this is dropped. `None` where there can be none.
    #[must_use]
    pub fn start() -> Option<Self> {
        let (ask, questions) = sync_channel(1);
        let (answer, answers) = sync_channel(1);
        let thread = thread::Builder::new().name("gpus".to_owned());
        match thread.spawn(move || answer_all(&questions, &answer)) {
            Ok(_) => Some(Self { ask, answers, waits: false }),
            Err(error) => {
                tracing::error!(%error, "cannot start the thread that reads GPUs; none is read");
                None
            }
        }
    }

    /// The GPUs now; nothing where NVML does not answer in time, or where there is none.
    pub fn read(&mut self) -> Found {
        // The answer to an earlier round says nothing of this one, and its round has waited enough.
        if self.waits && self.answers.try_recv().is_err() {
            return Found::default();
        }
        self.waits = self.ask.try_send(()).is_ok();
        match self.answers.recv_timeout(PATIENCE) {
            Ok(found) => {
                self.waits = false;
                found
            }
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("NVML does not answer; GPUs are absent from the record until it does");
                Found::default()
            }
            Err(RecvTimeoutError::Disconnected) => Found::default(),
        }
    }
}

fn answer_all(questions: &Receiver<()>, answers: &SyncSender<Found>) {
    let mut library: Option<Library> = None;
    let mut until_look = 0_u32;
    let mut said = false;
    loop {
        match questions.recv_timeout(SAMPLES_EVERY) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {
                if let Some(library) = &mut library {
                    library.take_samples();
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if library.is_none() && until_look == 0 {
            match Library::load() {
                Ok(loaded) => {
                    library = Some(loaded);
                    said = false;
                }
                Err(error) => {
                    if !said {
                        tracing::info!("no GPU is read, since NVML is not there: {error}");
                    }
                    (said, until_look) = (true, QUESTIONS_UNTIL_AGAIN);
                }
            }
        }
        until_look = until_look.saturating_sub(1);
        let found = match library.as_mut().map(Library::read) {
            Some(Ok(found)) => found,
            Some(Err(error)) => {
                tracing::warn!("NVML fails, and is loaded anew in a while: {error}");
                (library, until_look) = (None, QUESTIONS_UNTIL_AGAIN);
                Found::default()
            }
            None => Found::default(),
        };
        if answers.send(found).is_err() {
            return;
        }
    }
}
