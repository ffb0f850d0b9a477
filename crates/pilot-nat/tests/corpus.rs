//! The committed corpus of STUN messages runs without a fault.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use pilot_nat::{BindingRequest, BindingResponse, fuzz};

#[test]
fn stun() {
    replay::replay("stun", fuzz);
}

#[test]
#[ignore = "writes inputs into the checkout"]
fn write_seeds() {
    let transaction = [7; 12];
    let answer = |mapped: &str| {
        let mapped = mapped.parse().expect("an address");
        BindingResponse {
            transaction,
            mapped,
        }
        .encode()
    };
    let asking = |change_port| BindingRequest {
        transaction,
        change_port,
    };
    let (request, elsewhere) = (asking(false).encode(), asking(true).encode());
    let mut with_software = request.clone();
    with_software[3] = 8;
    with_software.extend([0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]);
    let mut plain = answer("192.0.2.1:4000");
    plain[20..22].copy_from_slice(&[0, 1]);
    let mut refused = request.clone();
    refused[..2].copy_from_slice(&[1, 0x11]);
    let seeds = vec![
        request,
        elsewhere,
        with_software,
        answer("192.0.2.1:4000"),
        answer("[2001:db8::1]:4000"),
        plain,
        refused,
    ];
    replay::write_seeds("stun", seeds);
}
