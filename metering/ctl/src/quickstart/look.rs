//! What the node has. All that is read or run before anything is changed, is read or run here.

use std::path::{Path, PathBuf};

use nix::unistd::User;
use tenantry_model::NodeName;

use crate::doctor::facts::Facts;
use crate::doctor::gather;
use crate::doctor::machine::{Machine, Seen};
use crate::error::Error;
use crate::plugin::{self, Found};

const DAEMON_SETTINGS: &str = "/etc/tenantry/tenantryd.toml";

/// Everything a plan is made of.
#[derive(Debug, Clone)]
pub struct Look {
    /// What the doctor sees.
    pub facts: Facts,
    /// What the selector sees.
    pub plugin: Found,
    /// Whether this node's daemon sends to a server on another machine.
    pub server_elsewhere: bool,
    /// Whose job may be run.
    pub payer: Option<Payer>,
    /// This node, as Slurm most likely calls it.
    pub node: Option<NodeName>,
}

/// A user of one of Slurm's accounts, who has an account on this machine, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payer {
    /// Login name.
    pub name: String,
    /// The account.
    pub account: String,
    /// As this machine knows him.
    pub uid: u32,
    /// His group.
    pub gid: u32,
    /// His home.
    pub home: PathBuf,
}

/// Looks; the job's user is the named one, or the first.
pub async fn look(user: Option<&str>) -> Result<Look, Error> {
    let machine = Machine::here();
    let facts = gather::facts(&machine, None).await.map_err(Error::System)?;
    let plugin = plugin::found(Path::new("slurmd")).await;
    let settings = machine.read(Path::new(DAEMON_SETTINGS));
    let server_elsewhere = settings
        .is()
        .is_some_and(|text| text.lines().any(|line| line.trim_start().starts_with("server_url")));
    let associations = ["-nP", "list", "association", "format=user,account"];
    let payer = match machine.run("sacctmgr", &associations, &[]).await {
        Seen::Is(text) => payer(&text, user),
        Seen::Absent | Seen::Unseen(_) => None,
    };
    if let (Some(name), None) = (user, &payer) {
        return Err(Error::NoPayer(name.to_owned()));
    }
    Ok(Look { facts, plugin, server_elsewhere, payer, node: NodeName::of_this_host() })
}

fn payer(associations: &str, wanted: Option<&str>) -> Option<Payer> {
    associations.lines().filter_map(|line| line.split_once('|')).find_map(|(name, account)| {
        if name.is_empty() || wanted.is_some_and(|wanted| wanted != name) {
            return None;
        }
        // A user whom the machine does not know cannot run a job on it.
        let user = User::from_name(name).ok().flatten().filter(|user| !user.uid.is_root())?;
        Some(Payer {
            name: name.to_owned(),
            account: account.to_owned(),
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
        })
    })
}
