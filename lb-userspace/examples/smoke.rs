use lb_common::{
    address::Address,
    backend::{Backend, index},
    hash::HashKey,
    listener::*,
    node::Node,
    pool::Slot,
    release::Record,
};
use lb_userspace::dataplane::{kernel::*, *};
fn main() {
    let pins = std::path::PathBuf::from(format!("/sys/fs/bpf/smoke{}", std::process::id()));
    let mut k = Kernel::open(&Settings {
        object: lb_userspace::object::SERIN,
        program: "serin_xdp",
        pins: &pins,
        node: Node::new(HashKey::new([3; 18]), 32, 64),
        flows: 65536,
    })
    .unwrap();
    println!("verified {}", k.verified_instructions().unwrap());
    let vip = Address::v4([192, 0, 2, 80]);
    let b = Address::v4([10, 0, 1, 11]);
    let mut to = Image::default();
    to.backends.insert(
        index(1, false),
        Backend::new(b, 8080, 1).via(1, [2; 6], [4; 6]),
    );
    to.tables.insert(0, Table::new(|_| Slot::settled(1)));
    to.records.insert(
        0,
        Record {
            epoch: 1,
            ..Record::default()
        },
    );
    to.listeners.insert(
        Endpoint::new(vip, 80u16.to_be_bytes(), 6),
        Listener::new(0, 0, 80),
    );
    for w in plan::plan(&Image::default(), &to) {
        k.write(&w).unwrap();
    }
    let t = std::time::Instant::now();
    k.wait_for_packets().unwrap();
    println!("barrier {:?}", t.elapsed());
    let t = std::time::Instant::now();
    k.write(&Write::SetTable(0, Table::new(|_| Slot::settled(1))))
        .unwrap();
    println!("table {:?}", t.elapsed());
    assert!(k.image().unwrap() == to);
    let mut f = vec![0u8; 54];
    f[12] = 8;
    f[14] = 0x45;
    f[17] = 40;
    f[22] = 64;
    f[23] = 6;
    f[26..30].copy_from_slice(&[198, 51, 100, 7]);
    f[30..34].copy_from_slice(&[192, 0, 2, 80]);
    f[34] = 0x30;
    f[37] = 80;
    f[46] = 0x50;
    f[47] = 2;
    println!("{:?}", k.test_run(&f).unwrap());
    println!("{:?}", k.counters(&[1], &[0]).unwrap());
    drop(k);
    println!("{:?}", detach(&pins));
}
