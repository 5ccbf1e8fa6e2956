//! `GET /metrics`: the node's jobs and tenants as last read, and how the daemon does, for Prometheus.
//!
//! The ledger is what is billed from; this is for dashboards. Counters pass through a double here, and
//! beyond 2^53 lose their last digits.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::proto::{self, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use tenantry_model::block::Subject;
use tenantry_model::catalogue::{GPU, IO, Info, Kind, Metric, Unit};
use tenantry_model::reading::Reading;
use tenantry_model::{TenantPath, Usec};
use tokio_util::sync::CancellationToken;

use crate::sampler::Effort;

/// How long a caller may take for the head of a request.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// How many callers are served at once.
const MOST_CALLERS: usize = 16;

/// What is shown. Clones are the same.
#[derive(Clone, Default)]
pub struct Shown(Arc<Mutex<State>>);

/// Its parts, each set by whoever knows it.
#[derive(Default)]
pub struct State {
    /// The jobs and tenants that are there, as last read.
    pub groups: BTreeMap<Subject, (Option<TenantPath>, Reading)>,
    /// What sampling has done so far.
    pub effort: Effort,
    /// Blocks that the ledger does not have yet.
    pub waiting: u64,
    /// Bytes of the spool in use.
    pub spool_bytes: u64,
    /// Its bound.
    pub spool_max_bytes: u64,
    /// Whether readings have room in it.
    pub has_room: bool,
    /// When the ledger last took a block, in µs since 1970.
    pub acknowledged_unix_usec: Option<i64>,
    /// When the certificate that blocks are sent with expires; `None`: over the socket it takes none.
    pub certificate_not_after_unix_usec: Option<i64>,
    /// How many jobs are shown at most.
    pub most_jobs: usize,
}

impl Shown {
    /// Changes what is shown.
    pub fn update(&self, change: impl FnOnce(&mut State)) {
        // A panic elsewhere leaves figures that were whole.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What Prometheus reads.
    fn text(&self) -> Result<Vec<u8>> {
        let families = families(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text).context("cannot write metrics")?;
        Ok(text)
    }
}

/// Answers on a listener until told to stop.
///
/// # Errors
/// Where the listener cannot be used.
pub async fn serve(listener: TcpListener, shown: Shown, stop: CancellationToken) -> Result<()> {
    listener.set_nonblocking(true).context("cannot use the listener for metrics")?;
    let listener =
        tokio::net::TcpListener::from_std(listener).context("cannot use the listener for metrics")?;
    let callers = Arc::new(tokio::sync::Semaphore::new(MOST_CALLERS));
    loop {
        let taken = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            taken = listener.accept() => taken,
        };
        let (Ok((stream, _)), Ok(place)) = (taken, Arc::clone(&callers).acquire_owned().await) else {
            continue;
        };
        let shown = shown.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| std::future::ready(answer(&request, &shown)));
            // A caller that goes away in the middle is no news.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, shown: &Shown) -> hyper::http::Result<Response<Full<Bytes>>> {
    let plain = |status: StatusCode, text: &'static str| {
        Response::builder().status(status).body(Full::new(Bytes::from_static(text.as_bytes())))
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match shown.text() {
            Ok(text) => Response::builder()
                .header("content-type", prometheus::TEXT_FORMAT)
                .body(Full::new(text.into())),
            Err(error) => {
                tracing::error!("{error:#}");
                plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the metrics cannot be written; tenantryd's log says why\n",
                )
            }
        },
        (_, "/metrics") => plain(StatusCode::METHOD_NOT_ALLOWED, "it is GET /metrics\n"),
        _ => plain(StatusCode::NOT_FOUND, "it is GET /metrics\n"),
    }
}

fn families(state: &State) -> Vec<MetricFamily> {
    let (mut jobs, mut tenants, mut nodes, mut left_out) = (Vec::new(), Vec::new(), Vec::new(), 0_u64);
    for (subject, (tenant, reading)) in &state.groups {
        match subject {
            Subject::Job(run) if jobs.len() < state.most_jobs => {
                let labels = [
                    ("node", run.node.to_string()),
                    ("job", run.job_id.to_string()),
                    ("tenant", tenant.as_ref().map(ToString::to_string).unwrap_or_default()),
                ];
                jobs.push((labels.to_vec(), reading));
            }
            Subject::Job(_) => left_out = left_out.saturating_add(1),
            Subject::Tenant { node, tenant } => {
                tenants.push((vec![("node", node.to_string()), ("tenant", tenant.to_string())], reading));
            }
            Subject::Node { node } => nodes.push((vec![("node", node.to_string())], reading)),
        }
    }
    let mut families = daemon(state, left_out);
    for (of, groups) in [("job", jobs), ("tenant", tenants), ("node", nodes)] {
        for metric in Metric::ALL {
            let samples = groups.iter().filter_map(|(labels, reading)| {
                Some((labels.clone(), value(metric.info(), reading.get(metric)?)))
            });
            families.push(family(of, metric.info(), samples));
        }
        for (column, info) in IO.iter().enumerate() {
            let samples = groups.iter().flat_map(|(labels, reading)| {
                reading.io.iter().flatten().filter_map(move |io| {
                    let figure = io.stat.columns().get(column).copied()?;
                    let device = [("device", io.device.to_string())];
                    Some((labels.iter().cloned().chain(device).collect(), value(info, figure)))
                })
            });
            families.push(family(of, info, samples));
        }
        for (column, info) in GPU.iter().enumerate() {
            let samples = groups.iter().flat_map(|(labels, reading)| {
                reading.gpus.iter().filter_map(move |gpu| {
                    let figure = gpu.stat.columns().get(column).copied().flatten()?;
                    let name = [("gpu", gpu.gpu.to_string())];
                    Some((labels.iter().cloned().chain(name).collect(), value(info, figure)))
                })
            });
            families.push(family(of, info, samples));
        }
    }
    families.retain(|family| !family.get_metric().is_empty());
    families
}

type Labels = Vec<(&'static str, String)>;

fn family(of: &str, info: &Info, samples: impl Iterator<Item = (Labels, f64)>) -> MetricFamily {
    // A peak may fall where a group is made anew: for Prometheus it is a gauge.
    let is_counter = info.kind == Kind::Counter;
    plain(info.prometheus(of), info.help, is_counter, samples)
}

fn plain(
    name: String,
    help: &str,
    is_counter: bool,
    samples: impl Iterator<Item = (Labels, f64)>,
) -> MetricFamily {
    let sample = |(labels, value): (Labels, f64)| {
        let pair = |(name, value): (&str, String)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value);
            pair
        };
        let mut metric = proto::Metric::from_label(labels.into_iter().map(pair).collect());
        if is_counter {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    };
    let mut family = MetricFamily::default();
    family.set_name(name);
    family.set_help(help.to_owned());
    family.set_field_type(if is_counter { MetricType::COUNTER } else { MetricType::GAUGE });
    family.set_metric(samples.map(sample).collect());
    family
}

/// In Prometheus's base units.
fn value(info: &Info, figure: u64) -> f64 {
    match info.unit {
        // Microjoules are to joules as microseconds to seconds.
        Unit::Usec | Unit::MicroJoules => seconds(Usec(figure)),
        Unit::MilliJoules => std::time::Duration::from_millis(figure).as_secs_f64(),
        Unit::Bytes | Unit::Count => double(figure),
    }
}

fn seconds(time: Usec) -> f64 {
    std::time::Duration::from_micros(time.0).as_secs_f64()
}

#[allow(clippy::as_conversions, clippy::cast_precision_loss, reason = "Prometheus has nothing but doubles")]
fn double(figure: u64) -> f64 {
    figure as f64
}

/// How the daemon does.
fn daemon(state: &State, left_out: u64) -> Vec<MetricFamily> {
    let Effort { rounds, read, gone, failed, late, cpu, elapsed } = state.effort;
    let counters = [
        ("rounds_total", "Sampling rounds begun.", double(rounds)),
        ("groups_read_total", "Groups read.", double(read)),
        ("groups_gone_total", "Groups that were gone when their turn came.", double(gone)),
        ("groups_failed_total", "Groups that could not be read.", double(failed)),
        ("groups_late_total", "Groups whose turn had not come when the next round began.", double(late)),
        ("sampling_cpu_seconds_total", "CPU time of sampling.", seconds(cpu)),
        ("sampling_seconds_total", "Time of sampling.", seconds(elapsed)),
    ];
    let gauges = [
        ("spool_blocks_waiting", "Blocks that the ledger does not have yet.", double(state.waiting)),
        ("spool_bytes", "Bytes of the spool in use.", double(state.spool_bytes)),
        ("spool_max_bytes", "The spool's bound.", double(state.spool_max_bytes)),
        (
            "spool_has_room",
            "1: readings are kept; 0: only the ends of jobs are.",
            double(state.has_room.into()),
        ),
        ("jobs_left_out", "Jobs that are there and not shown: metrics_max_jobs.", double(left_out)),
    ];
    let name = |name: &str| format!("tenantryd_{name}");
    let one = |value| std::iter::once((Vec::new(), value));
    let counters = counters.into_iter().map(|(key, help, value)| plain(name(key), help, true, one(value)));
    let gauges = gauges.into_iter().map(|(key, help, value)| plain(name(key), help, false, one(value)));
    let acknowledged = state.acknowledged_unix_usec.and_then(|usec| u64::try_from(usec).ok()).map(|usec| {
        let help = "When the ledger last took a block, in seconds since 1970.";
        plain(name("acknowledged_timestamp_seconds"), help, false, one(seconds(Usec(usec))))
    });
    let certificate =
        state.certificate_not_after_unix_usec.and_then(|usec| u64::try_from(usec).ok()).map(|usec| {
            let help = "When the certificate that blocks are sent with expires, in seconds since 1970.";
            plain(name("certificate_expiry_timestamp_seconds"), help, false, one(seconds(Usec(usec))))
        });
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let build = plain(name("build_info"), "The daemon's version.", false, std::iter::once((version, 1.0)));
    counters.chain(gauges).chain(acknowledged).chain(certificate).chain([build]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantry_model::job::Incarnation;
    use tenantry_model::reading::{DeviceId, DeviceIo, GpuReading, GpuStat, IoStat};
    use tenantry_model::{JobId, Moment, WallTime};

    fn job(id: u32) -> Subject {
        let began = WallTime::from_unix_usec(1).unwrap();
        let boot_id = "0b0b0b0b-0000-4000-8000-000000000001".parse().unwrap();
        Subject::Job(Incarnation {
            cluster: None,
            node: "n1".parse().unwrap(),
            boot_id,
            job_id: JobId(id),
            began,
        })
    }

    fn reading(cpu: u64) -> Reading {
        let at = Moment { wall: WallTime::from_unix_usec(1).unwrap(), boottime_usec: Usec(1) };
        let device = DeviceId { major: 8, minor: 0 };
        let io = vec![DeviceIo { device, stat: IoStat::from_columns([4096, 0, 1, 0]) }];
        let counters = [(Metric::CPU_USAGE, cpu), (Metric::MEMORY_PEAK, 7)].into_iter().collect();
        let stat = GpuStat::from_columns([Some(2_500), None, None, Some(1 << 30)]);
        let gpus = vec![GpuReading { gpu: "GPU-1".parse().unwrap(), stat }];
        Reading { at, counters, io: Some(io), gpus }
    }

    fn text(jobs: u32, most_jobs: usize) -> String {
        let shown = Shown::default();
        shown.update(|state| {
            state.most_jobs = most_jobs;
            let acme: TenantPath = "acme/physics".parse().unwrap();
            for id in 1..=jobs {
                state.groups.insert(job(id), (Some(acme.clone()), reading(1_500_000)));
            }
            let tenant = Subject::Tenant { node: "n1".parse().unwrap(), tenant: acme };
            state.groups.insert(tenant, (None, reading(3_000_000)));
            let mut node = reading(0);
            node.counters = [(Metric::ENERGY_PACKAGE, 1_500_000)].into_iter().collect();
            state.groups.insert(Subject::Node { node: "n1".parse().unwrap() }, (None, node));
        });
        String::from_utf8(shown.text().unwrap()).unwrap()
    }

    #[test]
    fn a_job_and_its_tenant_are_shown_in_base_units() {
        let text = text(1, 10);
        let job = r#"{node="n1",job="1",tenant="acme/physics"}"#;
        for line in [
            &format!("tenantry_job_cpu_usage_seconds_total{job} 1.5"),
            &format!("tenantry_job_memory_peak_bytes{job} 7"),
            r#"tenantry_tenant_cpu_usage_seconds_total{node="n1",tenant="acme/physics"} 3"#,
            r#"tenantry_job_io_read_bytes_total{node="n1",job="1",tenant="acme/physics",device="8:0"} 4096"#,
            r#"tenantry_job_gpu_energy_joules_total{node="n1",job="1",tenant="acme/physics",gpu="GPU-1"} 2.5"#,
            r#"tenantry_node_gpu_memory_used_bytes{node="n1",gpu="GPU-1"} 1073741824"#,
            r#"tenantry_node_energy_package_joules_total{node="n1"} 1.5"#,
            "# TYPE tenantry_job_cpu_usage_seconds_total counter",
            "# TYPE tenantry_job_memory_peak_bytes gauge",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        // What was not read has no sample.
        assert!(!text.contains("tenantry_job_pids_current") && !text.contains("gpu_busy"));
    }

    #[test]
    fn no_more_jobs_are_shown_than_the_site_wants_and_the_others_are_counted() {
        let text = text(5, 3);
        assert_eq!(
            text.lines().filter(|line| line.starts_with("tenantry_job_memory_peak_bytes{")).count(),
            3
        );
        assert!(text.contains("\ntenantryd_jobs_left_out 2\n"), "{text}");
    }
}
