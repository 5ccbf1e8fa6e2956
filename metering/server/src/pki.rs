//! `tenantry-server pki`: an authority for sites that have none.

mod authority;
mod register;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use tenantry_model::{Clock, ClusterName, Identity, NodeName, Role, SystemClock, TenantPath, WallTime};

use authority::Authority;
use register::{Issued, State};

/// The site's own authority: certificates of nodes, servers and readers
///
/// It lives in one directory, whose ca.key can make certificates for anybody: keep it on a machine of the
/// administrators', or offline. A site with an authority of its own needs none of this: docs/network.md says
/// what its certificates must have.
#[derive(Args)]
pub struct Pki {
    /// The authority's directory
    #[arg(long, value_name = "DIR", default_value = "/etc/tenantry/pki", global = true)]
    dir: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make the authority: its key (0600), its certificate, an empty list of revoked certificates
    Init {
        /// Slurm's `ClusterName`: it stands in each name
        #[arg(long)]
        cluster: ClusterName,
        /// For how many days its certificate holds
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Make a key and a certificate
    Issue {
        #[command(subcommand)]
        whom: Whom,
        /// For how many days it holds
        #[arg(long, default_value_t = DAYS, global = true, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Make a new key and certificate for a name that has one; the old one holds until it expires
    Renew {
        /// Like node/n1 or tenant/acme/physics
        #[arg(required_unless_present = "due")]
        name: Option<Role>,
        /// Instead: all that have less than a third of their life left
        #[arg(long, conflicts_with = "name")]
        due: bool,
        /// For how many days it holds
        #[arg(long, default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Refuse a certificate from now on: the list of revoked certificates is written anew
    Revoke {
        /// A name, like node/n1: all its certificates; or one certificate's serial number
        which: String,
    },
    /// List the certificates that were made, and what became of them
    Show,
}

#[derive(Subcommand)]
enum Whom {
    /// A node's, to send its blocks
    Node {
        /// As its daemon calls it: the host's name up to its first dot
        name: NodeName,
    },
    /// A reader's of everybody's usage: billing, an administrator
    Reader {
        /// Any word
        name: NodeName,
    },
    /// A tenant's, to read its usage and that of the tenants in it
    Tenant {
        /// Like acme or acme/physics
        path: TenantPath,
    },
    /// A server's
    Server {
        /// The names and addresses by which it is reached, as they stand in `server_url`
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Short, so that what is lost or forgotten ends by itself.
const DAYS: u32 = 90;

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file of the authority's cannot be read or written.
    #[error("cannot {what} {}", file.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// Which.
        file: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// There is an authority already.
    #[error("{} is there: an authority is made once; move it away to begin anew, and every certificate of it is void", .0.display())]
    AuthorityExists(PathBuf),
    /// There is none.
    #[error("there is no authority in {}: tenantry-server pki init --cluster NAME", .0.display())]
    NoAuthority(PathBuf),
    /// The name has a certificate that holds.
    #[error("{0} has a certificate until {1}: tenantry-server pki renew {0}, or revoke it first")]
    NameTaken(Role, WallTime),
    /// Nobody of that name or serial number.
    #[error("no certificate that holds is of {0}: tenantry-server pki show")]
    Unknown(String),
    /// A name that a certificate cannot have.
    #[error("{name:?} cannot stand in a certificate: write a host's name or an IP address")]
    Name {
        /// Which.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Cryptography failed, or the authority's files are none.
    #[error("a certificate could not be made")]
    Make(#[from] rcgen::Error),
    /// What was made cannot be read back: a defect.
    #[error("what was made cannot be read back: please report it")]
    ReadBack,
    /// The clock cannot be read.
    #[error("the clock cannot be read")]
    Clock(#[source] io::Error),
    /// Nobody takes the output.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Does what is asked, and says on standard output what comes next.
pub fn run(args: &Pki) -> Result<(), PkiError> {
    let now = SystemClock.now().map_err(PkiError::Clock)?.wall;
    let mut out = io::stdout().lock();
    match &args.action {
        Action::Init { cluster, days } => {
            Authority::init(&args.dir, cluster, life(*days), now)?;
            say_init(&mut out, &args.dir)?;
        }
        Action::Issue { whom, days } => {
            let (role, names) = whom.role()?;
            let mut authority = Authority::open(&args.dir)?;
            let issued = authority.issue(&role, names, life(*days), now)?;
            say_issued(&mut out, &args.dir, &issued)?;
        }
        Action::Renew { name, due, days } => {
            let mut authority = Authority::open(&args.dir)?;
            let roles = match name {
                Some(role) => vec![role.clone()],
                None => authority.due(now),
            };
            if *due && roles.is_empty() {
                writeln!(out, "none is due")?;
            }
            for role in roles {
                let issued = authority.renew(&role, life(*days), now)?;
                say_issued(&mut out, &args.dir, &issued)?;
            }
        }
        Action::Revoke { which } => {
            let mut authority = Authority::open(&args.dir)?;
            for Issued { role, serial, .. } in authority.revoke(which, now)? {
                writeln!(out, "revoked: {role}, serial {serial}")?;
            }
            let crl = args.dir.join(authority::CRL);
            writeln!(
                out,
                "next: copy {} to where each server's `crl` points; it is read anew at once",
                crl.display()
            )?;
        }
        Action::Show => show(&mut out, &Authority::open(&args.dir)?, now)?,
    }
    Ok(())
}

fn life(days: u32) -> Duration {
    Duration::from_hours(24).saturating_mul(days)
}

impl Whom {
    fn role(&self) -> Result<(Role, Vec<String>), PkiError> {
        Ok(match self {
            Self::Node { name } => (Role::Node(name.clone()), Vec::new()),
            Self::Reader { name } => (Role::Reader(name.clone()), Vec::new()),
            Self::Tenant { path } => (Role::Tenant(path.clone()), Vec::new()),
            Self::Server { names } => {
                let first = names.first().map(String::as_str).unwrap_or_default();
                // An IPv6 address has colons.
                let name = first.replace(':', "-").parse();
                let name = name.map_err(|error: tenantry_model::InvalidId| PkiError::Name {
                    name: first.to_owned(),
                    source: error.into(),
                })?;
                (Role::Server(name), names.clone())
            }
        })
    }
}

fn say_init(out: &mut impl Write, dir: &Path) -> io::Result<()> {
    let file = |name| dir.join(name).display().to_string();
    writeln!(
        out,
        "made: {} (keep it secret, and a copy of it offline), {}, {}\n\
         next: tenantry-server pki issue server HOST, for the machine of tenantry-server\n\
         next: tenantry-server pki issue node NAME, for each node\n\
         next: on the server, [network] of server.toml: ca = \"{}\", crl = \"{}\"",
        file(authority::KEY),
        file(authority::CERTIFICATE),
        file(authority::CRL),
        file(authority::CERTIFICATE),
        file(authority::CRL),
    )
}

fn say_issued(out: &mut impl Write, dir: &Path, issued: &Issued) -> io::Result<()> {
    let (certificate, key) = authority::files_of(dir, &issued.role);
    let whose = match &issued.role {
        Role::Node(name) => {
            format!("to node {name}, and set ca, certificate, key and server_url in tenantryd.toml")
        }
        Role::Reader(_) | Role::Tenant(_) => {
            "to the reader, who sets ca, certificate, key and server_url in client.toml".to_owned()
        }
        Role::Server(_) => {
            "to the server, and set certificate and key under [network] of server.toml".to_owned()
        }
    };
    writeln!(
        out,
        "made: {} and {} (0600) for {}, until {}, serial {}\nnext: take both and ca.pem {whose}; then remove the key here",
        certificate.display(),
        key.display(),
        issued.role,
        issued.not_after,
        issued.serial,
    )
}

fn show(out: &mut impl Write, authority: &Authority, now: WallTime) -> Result<(), PkiError> {
    let register = authority.register();
    writeln!(out, "cluster {}, authority until {}", register.cluster, register.authority_not_after)?;
    let width = register.certificates.iter().map(|issued| issued.role.to_string().len()).max().unwrap_or(0);
    for issued in &register.certificates {
        let state = match issued.state(now) {
            State::Good => "good",
            State::Due => "due: renew it",
            State::Expired => "expired",
            State::Revoked => "revoked",
        };
        let role = issued.role.to_string();
        writeln!(out, "{role:width$}  {}  until {}  {state}", issued.serial, issued.not_after)?;
    }
    Ok(())
}

/// The name in a certificate.
fn identity(cluster: &ClusterName, role: &Role) -> Identity {
    Identity { cluster: cluster.clone(), role: role.clone() }
}

#[cfg(test)]
mod tests;
