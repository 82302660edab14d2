//! The dashboard's columns, as data.

use crate::packed::word;
use crate::view::{Field, Show, field};

/// What comes first when the apps are sorted by a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By app and network.
    Name,
    /// By the text.
    Text,
    /// What needs somebody most.
    Worst,
    /// The largest number.
    Most,
    /// The newest time.
    Newest,
}

/// A column.
pub struct Column {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its heading, and the member it shows.
    pub field: Field,
    /// How wide it is; the first takes what its texts need.
    pub width: usize,
    /// What comes first when the apps are sorted by it, and of which member.
    pub order: Order,
    /// See [`Column::order`].
    pub by: &'static str,
}

const fn column(name: &'static str, path: &'static str, show: Show, width: usize, order: Order) -> Column {
    Column { name, field: field(name, path, show), width, order, by: path }
}

/// A picture, sorted by the number it shows.
const fn picture(name: &'static str, by: &'static str) -> Column {
    Column { name, field: field(name, name, Show::Plain), width: 15, order: Order::Most, by }
}

/// The member that holds `APP.NETWORK`, which the dashboard adds.
pub const NAME: &str = "name";
/// The column, and the member, that pictures the CPU of the newest minute.
pub const LOAD: &str = "load";
/// The same for requests.
pub const TRAFFIC: &str = "activity";

/// The columns in the order of their use: where there is no room for all, the last are
/// left out.
pub const COLUMNS: &[Column] = &[
    column("app", NAME, Show::Plain, 8, Order::Name),
    column("state", "state", Show::State, 10, Order::Worst),
    column("cpu", "usage.cpu", Show::Cores, 6, Order::Most),
    column("memory", "usage.memory", Show::Bytes, 9, Order::Most),
    column("requests", "traffic.requests", Show::Rate, 9, Order::Most),
    column("errors", "traffic.errors", Show::Plain, 6, Order::Most),
    picture("load", "usage.cpu"),
    column("p95", "traffic.p95_us", Show::Micros, 7, Order::Most),
    picture("activity", "traffic.requests"),
    column("restarts", "restarts", Show::Plain, 9, Order::Most),
    column("p50", "traffic.p50_us", Show::Micros, 7, Order::Most),
    column("release", "release", Show::Plain, 8, Order::Most),
    column("deployed", "deployed_at", Show::Ago, 12, Order::Newest),
    column("instances", "running", Show::Of(word("instances")), 10, Order::Most),
    column("url", "url", Show::Plain, 38, Order::Text),
    column("reason", "reason", Show::Plain, 40, Order::Text),
];

/// The index of the column of this name.
pub fn find(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|column| column.name == name)
}
