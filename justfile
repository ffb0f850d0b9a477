# `just` lists the recipes.
default:
    @just --list

# What every change must pass.
ci:
    .ci/run

# The story of two agents on this machine.
demo:
    cargo run --release -p pilotctl -- demo

# The simulator's properties over many more seeds.
search factor="50":
    PILOT_SEEDS={{factor}} cargo test --release -p pilot-sim -p pilot-node -p pilot-transport

# How long searches take over 250,000 public records.
search-latency:
    cargo test --release -p pilot-registry --test search_latency -- --ignored --nocapture

# Criterion benchmarks.
bench:
    cargo bench -p pilot-session -p pilot-transport -p pilot-wire --bench '*'

# Pilot beside quinn, iroh, TCP and sealed UDP, in network namespaces (root); see docs/performance.md.
bench-peers *arguments:
    cargo build --release
    cargo build --release --manifest-path benches/e2e/Cargo.toml
    PILOTCTL="${CARGO_TARGET_DIR:-$PWD/target}/release/pilotctl" "${CARGO_TARGET_DIR:-$PWD/benches/e2e/target}/release/pilot-e2e-bench" {{arguments}}

# One fuzz target for a while.
fuzz target seconds="1200":
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {{target}} -- -max_total_time={{seconds}}

# Inputs of real messages into the fuzz corpora, after a format changed.
fuzz-seeds:
    cargo test -p pilot-wire -p pilot-nat -p pilot-registry -p pilot-session -p pilot-transport -p pilot-trust --test corpus write_seeds -- --ignored
    cargo test -p pilot-api --lib fuzz::tests::write_seeds -- --ignored

# The fewest inputs of a target's corpus that reach all that it reaches.
fuzz-minimise target:
    RUSTC_BOOTSTRAP=1 cargo fuzz cmin --sanitizer none {{target}}

# System tests on machines in network namespaces, all or those whose names contain a word (root).
lab filter="":
    cargo build --release
    PILOTCTL="$PWD/target/release/pilotctl" cargo test --release -p pilot-lab -p pilotctl --tests -- --ignored --nocapture --test-threads 1 {{filter}}

# How many messages a second go between two daemons, and 100,000 of 20 senders to one that is killed in between.
messages senders="20" each="5000":
    cargo test --release -p pilotctl --test messages -- --ignored --nocapture message_rates
    PILOT_SENDERS={{senders}} PILOT_MESSAGES={{each}} cargo test --release -p pilotctl --test messages -- --nocapture messages_of

# Agents behind every pair of the kernel's NATs, and on the move, at the sizes and times of a release (root).
nat-lab megabytes="200" seconds="60":
    cargo build --release
    PILOTCTL="$PWD/target/release/pilotctl" PILOT_MOVE_MB={{megabytes}} PILOT_OUTAGE_SECONDS={{seconds}} PILOT_BENCH_MB=1000 cargo test --release -p pilotctl --test nat -- --ignored --nocapture --test-threads 1

# Many crashes of agents and rendezvous in traffic (root).
crashes count="50" seed="1":
    cargo build --release
    PILOTCTL="$PWD/target/release/pilotctl" PILOT_CRASHES={{count}} PILOT_SEED={{seed}} cargo test --release -p pilotctl --test system -- --ignored --nocapture crashes

# The repository's apps, built statically, signed with this home's key (made if there is none) and published to a catalogue.
apps catalogue="":
    #!/usr/bin/env sh
    set -eu
    home="${PILOT_HOME:-$HOME/.pilot}"
    catalogue={{quote(catalogue)}}
    catalogue="${catalogue:-file://$home/catalogue}"
    target=$(rustc -vV | sed -n 's/^host: //p')
    cargo build --release -p pilotctl
    RUSTFLAGS="-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"" cargo build --release --target "$target" -p app-aegis -p app-cosift -p app-plainweb
    pilotctl="${CARGO_TARGET_DIR:-target}/release/pilotctl"
    "$pilotctl" appstore key show --json | grep -q '"data":{"key":"' || "$pilotctl" appstore key new
    bundle=$(mktemp -d)
    trap 'rm -rf "$bundle"' EXIT
    for app in aegis cosift plainweb; do
        rm -rf "$bundle/$app"
        cp -r "bins/app-$app/bundle" "$bundle/$app"
        cp "${CARGO_TARGET_DIR:-target}/$target/release/app-$app" "$bundle/$app/"
        "$pilotctl" appstore sign "$bundle/$app"
        "$pilotctl" appstore publish "$bundle/$app" --catalogue "$catalogue"
    done
    if "$pilotctl" config --json | grep -q '"catalogues":\[\]'; then
        "$pilotctl" config --set "catalogues=$catalogue" >/dev/null
    fi

# How long an app takes: install to the first answer, a warm call, calls a second with 32 in flight.
apps-speed:
    #!/usr/bin/env sh
    set -eu
    target=$(rustc -vV | sed -n 's/^host: //p')
    out="${CARGO_TARGET_DIR:-$PWD/target}"
    cargo build --release -p pilotctl
    RUSTFLAGS="-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"" cargo build --release --target "$target" -p app-cosift
    PILOTCTL="$out/release/pilotctl" PILOT_COSIFT="$out/$target/release/app-cosift" \
        cargo test --release -p app-cosift --test measure -- --ignored --nocapture
