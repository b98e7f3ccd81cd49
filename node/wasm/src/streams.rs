//! The functions of WASI preview 1 that may wait or take long: reading, writing, waiting for either
//! or for a time, and random numbers. Each looks at no more than a bounded part of the guest's
//! memory at a time, and makes room for other guests in between.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Buf;
use tokio::task::yield_now;
use wasmtime::{Caller, Linker};

use crate::Failure;
use crate::clock;
use crate::host::Host;
use crate::wasi::{
    Errno, NO_RANDOM, WASI_P1, get, is_open, memory, on_memory, put, result, slice, slice_mut, time,
};

/// Bytes handled before other guests get a turn.
const STEP_BYTES: u32 = 64 * 1024;

/// Buffers in one call of `fd_read` or `fd_write`; further ones are left for the next call.
const BUFFERS_MAX: u32 = 1024;

/// Subscriptions in one call of `poll_oneoff`; a guest has three streams and a few timers.
const SUBSCRIPTIONS_MAX: u32 = 1024;

const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;

type Guest<'a> = Caller<'a, Host>;

pub(crate) fn add(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        WASI_P1,
        "fd_read",
        |mut guest: Guest<'_>, args: (i32, u32, u32, u32)| {
            Box::new(async move { read(&mut guest, args).await })
        },
    )?;
    linker.func_wrap_async(
        WASI_P1,
        "fd_write",
        |mut guest: Guest<'_>, args: (i32, u32, u32, u32)| {
            Box::new(async move { write(&mut guest, args).await })
        },
    )?;
    linker.func_wrap_async(
        WASI_P1,
        "poll_oneoff",
        |mut guest: Guest<'_>, args: (u32, u32, u32, u32)| {
            Box::new(async move { poll(&mut guest, args).await })
        },
    )?;
    linker.func_wrap_async(WASI_P1, "random_get", |mut guest: Guest<'_>, args: (u32, u32)| {
        Box::new(async move { random(&mut guest, args).await })
    })?;
    Ok(())
}

/// One of the guest's buffers: where, and how large.
fn buffer(bytes: &[u8], list: u32, index: u32) -> Result<(u32, u32), Errno> {
    let at = list.checked_add(index * 8).ok_or(Errno::FAULT)?;
    let size = at.checked_add(4).ok_or(Errno::FAULT)?;
    Ok((u32::from_le_bytes(get(bytes, at)?), u32::from_le_bytes(get(bytes, size)?)))
}

/// Waits for a chunk of the body, and takes of it what the buffers hold.
async fn read(
    guest: &mut Guest<'_>,
    (fd, list, count, to): (i32, u32, u32, u32),
) -> wasmtime::Result<i32> {
    if fd != 0 || !is_open(guest.data(), fd) {
        return Ok(Errno::BADF.number());
    }
    if let Err(failure) = poll_fn(|cx| guest.data_mut().stdin.poll_ready(cx)).await {
        return Err(guest.data_mut().fail(failure));
    }
    on_memory(guest, |bytes, host| {
        let mut total = 0;
        for index in 0..count.min(BUFFERS_MAX) {
            let (at, size) = buffer(bytes, list, index)?;
            let size = size.min(host.stdin.chunk.len() as u32);
            host.stdin.chunk.copy_to_slice(slice_mut(bytes, at, size)?);
            total += size;
            if host.stdin.chunk.is_empty() {
                break;
            }
        }
        host.stdin.bytes += u64::from(total);
        put(bytes, to, &total.to_le_bytes())
    })
}

/// Writes all that the buffers hold, waiting for room as often as need be.
async fn write(
    guest: &mut Guest<'_>,
    (fd, list, count, to): (i32, u32, u32, u32),
) -> wasmtime::Result<i32> {
    if !(fd == 1 || fd == 2) || !is_open(guest.data(), fd) {
        return Ok(Errno::BADF.number());
    }
    let memory = memory(guest)?;
    let pipe = Arc::clone(&guest.data().stdout.pipe);
    let mut total = 0u32;
    for index in 0..count.min(BUFFERS_MAX) {
        let (mut at, mut size) = match buffer(memory.data(&guest), list, index) {
            Ok(buffer) => buffer,
            Err(errno) => return Ok(errno.number()),
        };
        while size > 0 {
            let step = size.min(STEP_BYTES);
            if fd == 1 {
                poll_fn(|cx| pipe.poll_room(cx)).await;
            } else if size > STEP_BYTES {
                yield_now().await;
            }
            let (bytes, host) = memory.data_and_store_mut(&mut *guest);
            let Ok(bytes) = slice(bytes, at, step) else { return Ok(Errno::FAULT.number()) };
            if fd == 2 {
                host.stderr.add(bytes);
            } else {
                write_out(host, bytes)?;
            }
            (at, size, total) = (at.wrapping_add(step), size - step, total.wrapping_add(step));
        }
    }
    on_memory(guest, |bytes, _| put(bytes, to, &total.to_le_bytes()))
}

fn write_out(host: &mut Host, bytes: &[u8]) -> wasmtime::Result<()> {
    let stdout = &mut host.stdout;
    stdout.bytes += bytes.len() as u64;
    if stdout.bytes > stdout.bytes_max {
        return Err(host.fail(Failure::Output));
    }
    stdout.pipe.write(bytes);
    Ok(())
}

/// What a subscription waits for.
#[derive(Clone, Copy)]
enum Awaited {
    Time(Instant),
    Input,
    Room,
    /// Nothing: it is wrong, and says so at once.
    Wrong(Errno),
}

/// One of `poll_oneoff`'s subscriptions, and the part of it that its event repeats.
struct Subscription {
    user_data: [u8; 8],
    tag: u8,
    awaited: Awaited,
}

/// Waits until the first of the subscriptions is due, and reports all that are.
async fn poll(
    guest: &mut Guest<'_>,
    (from, events, count, to): (u32, u32, u32, u32),
) -> wasmtime::Result<i32> {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Ok(Errno::INVAL.number());
    }
    let memory = memory(guest)?;
    let (bytes, host) = memory.data_and_store_mut(&mut *guest);
    let all: Result<Vec<_>, Errno> = (0..count)
        .map(|index| subscription(bytes, host, from.wrapping_add(index * SUBSCRIPTION_BYTES)))
        .collect();
    let all = match all {
        Ok(all) => all,
        Err(errno) => return Ok(errno.number()),
    };
    let first = all.iter().filter_map(|one| match one.awaited {
        Awaited::Time(due) => Some(due),
        _ => None,
    });
    // Made even for a time that has passed, so that a guest that polls in a loop makes room.
    let mut timer = first.min().map(|due| Box::pin(tokio::time::sleep_until(due.into())));
    let due = poll_fn(|cx| {
        let timed = timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        let due: Vec<bool> =
            all.iter().map(|one| is_due(guest.data_mut(), one.awaited, timed, cx)).collect();
        if due.contains(&true) { Poll::Ready(due) } else { Poll::Pending }
    })
    .await;
    if let Some(failure) = guest.data_mut().failure.clone() {
        return Err(guest.data_mut().fail(failure));
    }
    let due = all.iter().zip(due).filter_map(|(one, due)| due.then_some(one));
    on_memory(guest, |bytes, host| {
        let mut count = 0u32;
        for one in due {
            let at = events.wrapping_add(count * EVENT_BYTES);
            put(bytes, at, &event(one, host.stdin.chunk.len()))?;
            count += 1;
        }
        put(bytes, to, &count.to_le_bytes())
    })
}

fn subscription(bytes: &[u8], host: &Host, at: u32) -> Result<Subscription, Errno> {
    let record: [u8; SUBSCRIPTION_BYTES as usize] = get(bytes, at)?;
    let number = |from: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&record[from..from + 8]);
        u64::from_le_bytes(eight)
    };
    let (tag, which) = (record[8], number(16) as u32);
    let awaited = match tag {
        0 => due(host, which, number(24), record[40] & 1 == 1),
        1 if which == 0 && host.open[0] => Awaited::Input,
        2 if which == 1 && host.open[1] => Awaited::Room,
        2 if which == 2 && host.open[2] => Awaited::Time(host.begun),
        1 | 2 => Awaited::Wrong(Errno::BADF),
        _ => return Err(Errno::INVAL),
    };
    let user_data = number(0).to_le_bytes();
    Ok(Subscription { user_data, tag, awaited })
}

/// When a clock's subscription is due.
fn due(host: &Host, id: u32, nanoseconds: u64, absolute: bool) -> Awaited {
    let now = match time(host, id) {
        Ok(now) => now,
        Err(errno) => return Awaited::Wrong(errno),
    };
    let left = if absolute { nanoseconds.saturating_sub(now) } else { nanoseconds };
    // A time beyond all clocks is beyond all deadlines.
    let left = Duration::from_nanos(left.min(i64::MAX.cast_unsigned()));
    Awaited::Time(clock::now().checked_add(left).unwrap_or_else(|| clock::now() + clock::FOREVER))
}

fn is_due(host: &mut Host, awaited: Awaited, timed: bool, cx: &mut Context<'_>) -> bool {
    match awaited {
        Awaited::Time(due) => timed && due <= clock::now(),
        Awaited::Room => host.stdout.pipe.poll_room(cx).is_ready(),
        Awaited::Wrong(_) => true,
        Awaited::Input => match host.stdin.poll_ready(cx) {
            Poll::Ready(ready) => {
                if let Err(failure) = ready {
                    host.fail(failure);
                }
                true
            }
            Poll::Pending => false,
        },
    }
}

fn event(one: &Subscription, readable: usize) -> [u8; EVENT_BYTES as usize] {
    let mut event = [0; EVENT_BYTES as usize];
    event[..8].copy_from_slice(&one.user_data);
    event[10] = one.tag;
    match one.awaited {
        Awaited::Wrong(errno) => event[8] = errno.number() as u8,
        Awaited::Input => {
            event[16..24].copy_from_slice(&(readable as u64).to_le_bytes());
            // Nothing to read when due: the end.
            event[24] = u8::from(readable == 0);
        }
        Awaited::Room => event[16..24].copy_from_slice(&u64::from(STEP_BYTES).to_le_bytes()),
        Awaited::Time(_) => {}
    }
    event
}

/// Fills the guest's bytes from the operating system.
async fn random(guest: &mut Guest<'_>, (mut at, mut size): (u32, u32)) -> wasmtime::Result<i32> {
    let memory = memory(guest)?;
    while size > 0 {
        let step = size.min(STEP_BYTES);
        let Ok(bytes) = slice_mut(memory.data_mut(&mut *guest), at, step) else {
            return Ok(Errno::FAULT.number());
        };
        if getrandom::fill(bytes).is_err() {
            return Ok(NO_RANDOM.number());
        }
        (at, size) = (at.wrapping_add(step), size - step);
        if size > 0 {
            yield_now().await;
        }
    }
    Ok(result(Ok(())))
}
