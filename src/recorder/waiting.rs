//! Reports that wait for the disk while nobody waits for them, within bounds for each sender.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::device::heartbeat::Report;
use crate::device::mac::MacAddr;
use crate::store::StoreError;

/// Most that wait at one time: of one device, which posts a dozen in an installation; …
const MAX_OF_DEVICE: usize = 16;
/// … of one address, whatever devices it claims to be; …
const MAX_OF_ADDRESS: usize = 1024;
/// … and of all.
const MAX_WAITING: usize = 4096;

/// The reports that wait.
#[derive(Default)]
pub struct Waiting {
    reports: Mutex<Reports>,
    /// Told whenever one of them has gone.
    gone: Notify,
}

#[derive(Default)]
struct Reports {
    next: u64,
    by_place: BTreeMap<u64, Report>,
}

/// The place of one of them, for as long as this lives.
pub struct Place {
    waiting: Arc<Waiting>,
    number: u64,
}

impl Waiting {
    /// A place for a report.
    ///
    /// # Errors
    /// Its device, its address or all together have too many already.
    pub fn place(waiting: &Arc<Self>, report: &Report) -> Result<Place, StoreError> {
        let mut reports = waiting.locked();
        let (mac, ip): (MacAddr, IpAddr) = (report.sender.mac, report.sender.ip);
        let count = |is_counted: &dyn Fn(&Report) -> bool| {
            reports
                .by_place
                .values()
                .filter(|report| is_counted(report))
                .count()
        };
        let bounds = [
            (count(&|other| other.sender.mac == mac), MAX_OF_DEVICE),
            (count(&|other| other.sender.ip == ip), MAX_OF_ADDRESS),
            (reports.by_place.len(), MAX_WAITING),
        ];
        if let Some((_, most)) = bounds.iter().find(|(waiting, most)| waiting >= most) {
            return Err(StoreError::TooManyWaiting(*most));
        }
        let number = reports.next;
        reports.next += 1;
        reports.by_place.insert(number, report.clone());
        Ok(Place {
            waiting: Arc::clone(waiting),
            number,
        })
    }

    /// Waits until there are none.
    pub async fn is_empty(&self) {
        loop {
            let gone = self.gone.notified();
            if self.locked().by_place.is_empty() {
                return;
            }
            gone.await;
        }
    }

    /// Those that wait still.
    pub fn reports(&self) -> Vec<Report> {
        self.locked().by_place.values().cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.locked().by_place.remove(&self.number);
        self.waiting.gone.notify_one();
    }
}
