//! `serin toggle`.

use clap::{Args, ValueEnum};

use super::{
    Failure,
    order::{ended, escape},
    show,
};
use crate::api::{
    client::Client,
    toggles::{Guard, ToggleOrder, ToggleStatus, Toggled},
};

/// Which toggle, and what becomes of it.
#[derive(Debug, Args)]
pub struct Toggle {
    /// The toggle; without one, all are listed
    #[arg(value_name = "TOGGLE", requires = "to")]
    name: Option<String>,
    /// What it is turned to
    #[arg(value_name = "on|off")]
    to: Option<Position>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", requires = "to")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Position {
    On,
    Off,
}

/// The answer to a question, or to an order.
pub enum Answer {
    All(Vec<ToggleStatus>),
    Turned(Toggled),
}

impl Toggle {
    /// Sends the order, and waits until it is in force.
    pub async fn give(self, client: &Client) -> Result<Answer, Failure> {
        let (Some(toggle), Some(to)) = (self.name, self.to) else {
            return Ok(Answer::All(client.get("/v1/toggles").await?));
        };
        let on = to == Position::On;
        let order = ToggleOrder {
            on,
            reason: self.reason,
        };
        let path = format!("/v1/toggles/{}", escape(&toggle));
        let turned: Toggled = client.put(&path, &order).await?;
        let Some(left) = turned.arming_s else {
            return Ok(Answer::Turned(turned));
        };
        eprintln!("{toggle}: pinning the sessions that are there; it is turned in {left} s");
        for (service, &order) in &turned.orders {
            ended(client, service, order).await?;
        }
        Ok(Answer::Turned(Toggled {
            on,
            changed: true,
            arming_s: None,
            ..turned
        }))
    }
}

/// All toggles, as a table.
pub fn table(toggles: &[ToggleStatus]) {
    let rows = toggles.iter().map(|toggle| {
        let unknown = || "-".to_owned();
        let by = toggle.by.as_ref().map(|by| by.name.clone());
        [
            toggle.toggle.clone(),
            word(toggle.on).to_owned(),
            toggle.since.clone().unwrap_or_else(unknown),
            by.unwrap_or_else(unknown),
            guards(&toggle.guards, true).unwrap_or_else(unknown),
        ]
    });
    show::table(["TOGGLE", "STATE", "SINCE", "BY", "GUARDS"], rows);
}

/// One that was turned.
pub fn turned(turned: &Toggled) -> String {
    let Toggled {
        toggle,
        on,
        changed,
        services,
        took_us,
        ..
    } = turned;
    let word = word(*on);
    if !changed {
        return format!("{toggle} is {word} already");
    }
    let services = match &services[..] {
        [] => "it guards nothing".to_owned(),
        services => services.join(", "),
    };
    format!("{toggle} is {word}: {services} ({took_us} us)")
}

/// One, as the status of a service has it.
pub fn of_service(toggle: &ToggleStatus) -> String {
    let guards = guards(&toggle.guards, false).unwrap_or_default();
    format!("{}: {}, guards {guards}", toggle.toggle, word(toggle.on))
}

fn guards(guards: &[Guard], services: bool) -> Option<String> {
    let told = guards.iter().map(|guard| {
        let Guard {
            service,
            kind,
            name,
        } = guard;
        if services {
            format!("{service}: {kind} {name}")
        } else {
            format!("{kind} {name}")
        }
    });
    let told: Vec<_> = told.collect();
    (!told.is_empty()).then(|| told.join(", "))
}

const fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
