//! A plan as a text for a person, and as JSON.

use std::fmt::Write;

use serde_json::json;
use tenantry_model::usage::UsageReport;

use super::plan::{Plan, State, Step};
use crate::error::Error;
use crate::table;

/// What would be done.
pub fn before(plan: &Plan) -> String {
    let mut text = obstacles(plan);
    if plan.steps.is_empty() && plan.in_the_way.is_empty() {
        return nothing(plan);
    }
    if !plan.steps.is_empty() {
        text.push_str("What is missing on this node, and what would be done about it:\n");
    }
    for step in &plan.steps {
        line(&mut text, &format!("\n{:<12} {}", step.id, step.what));
        line(&mut text, &format!("  why        {}", step.why));
        if let State::Waits(until) = &step.state {
            line(&mut text, &format!("  waits      {until}"));
        }
        line(&mut text, &format!("  undo       {}", step.undo));
    }
    text.push_str(if plan.in_the_way.is_empty() {
        "\nNothing is done yet: `tenantry quickstart --yes` does it.\n"
    } else {
        "\nNothing is done while something is in the way.\n"
    });
    text
}

/// A step that begins.
pub fn begins(step: &Step) -> String {
    format!("{:<12} {}", step.id, step.what)
}

/// How it ended.
pub fn ended(step: &Step) -> String {
    match &step.state {
        State::Done => format!("  done       undo: {}\n", step.undo),
        State::Failed(said) => format!("  failed     {said}\n"),
        State::Waits(until) => format!("  waits      {until}\n"),
        State::ToDo => String::new(),
    }
}

/// What stands at the end.
pub fn after(plan: &Plan, usage: Option<&UsageReport>) -> Result<String, Error> {
    let mut text = obstacles(plan);
    if !plan.in_the_way.is_empty() {
        text.push_str("\nNothing is done while something is in the way.\n");
        return Ok(text);
    }
    if plan.steps.is_empty() {
        return Ok(nothing(plan));
    }
    if let Some(report) = usage {
        let table = table::table(report).ok_or(Error::TooLarge)?;
        let _ = write!(text, "\nThe first usage of this node, as `tenantry usage` shows it:\n\n{table}");
    }
    let done = plan.steps.iter().all(|step| step.state == State::Done);
    line(
        &mut text,
        if done {
            "\nThis node meters its jobs."
        } else {
            "\nSomething is left: see above, then run it again; what is done is not done twice."
        },
    );
    if done {
        text.push_str(&next(plan));
    }
    Ok(text)
}

fn nothing(plan: &Plan) -> String {
    format!("Nothing is missing: this node meters its jobs.\n{}", next(plan))
}

fn next(plan: &Plan) -> String {
    let findings = match plan.findings {
        0 => "`tenantry doctor` finds nothing that weakens isolation or billing.".to_owned(),
        1 => "`tenantry doctor` has a finding, and says what to write where.".to_owned(),
        many => format!("`tenantry doctor` has {many} findings, and says what to write where."),
    };
    format!("{findings}\n`tenantry usage` shows usage; limits of tenants: docs/tenants.md.\n")
}

fn obstacles(plan: &Plan) -> String {
    let mut text = String::new();
    for obstacle in &plan.in_the_way {
        line(&mut text, &format!("in the way   {}", obstacle.what));
        line(&mut text, &format!("  fix        {}", obstacle.fix));
    }
    text
}

/// Found texts may hold what a file says: no control character of it may reach a terminal.
fn line(text: &mut String, said: &str) {
    let plain = said.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c });
    text.extend(plain);
    text.push('\n');
}

/// The same for a program.
pub fn json(plan: &Plan, usage: Option<&UsageReport>) -> Result<String, Error> {
    let steps = plan.steps.iter().map(|step| {
        let (state, said) = match &step.state {
            State::ToDo => ("to do", None),
            State::Done => ("done", None),
            State::Failed(said) => ("failed", Some(said)),
            State::Waits(until) => ("waits", Some(until)),
        };
        json!({ "id": step.id, "what": step.what, "why": step.why, "undo": step.undo, "state": state, "said": said })
    });
    let obstacles =
        plan.in_the_way.iter().map(|obstacle| json!({ "what": obstacle.what, "fix": obstacle.fix }));
    let whole = json!({
        "in_the_way": obstacles.collect::<Vec<_>>(),
        "steps": steps.collect::<Vec<_>>(),
        "usage": usage.map(|report| &report.usage),
        "findings": plan.findings,
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&whole).map_err(std::io::Error::from)?))
}
