//! Says what is found, what is needed and what mends it; changes nothing.

mod build;
mod kernel;
mod nic;
mod process;
mod table;

use table::Row;

/// Prints the table, and says whether nothing that is required is missing.
pub fn run() -> bool {
    let rows: Vec<Row> = [build::rows(), kernel::rows(), process::rows(), nic::rows()]
        .into_iter()
        .flatten()
        .collect();
    print!("{}", table::render(&rows));
    let missing = table::missing(&rows);
    match missing {
        0 => println!("nothing that is required is missing"),
        1 => println!("1 required thing is missing"),
        _ => println!("{missing} required things are missing"),
    }
    missing == 0
}
