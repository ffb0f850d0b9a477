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

# Criterion benchmarks.
bench:
    cargo bench -p pilot-session -p pilot-transport -p pilot-wire --bench '*'

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

# Agents behind every pair of the kernel's NATs, and on the move, at the sizes and times of a release (root).
nat-lab megabytes="200" seconds="60":
    cargo build --release
    PILOTCTL="$PWD/target/release/pilotctl" PILOT_MOVE_MB={{megabytes}} PILOT_OUTAGE_SECONDS={{seconds}} PILOT_BENCH_MB=1000 cargo test --release -p pilotctl --test nat -- --ignored --nocapture --test-threads 1

# Many crashes of agents and rendezvous in traffic (root).
crashes count="50" seed="1":
    cargo build --release
    PILOTCTL="$PWD/target/release/pilotctl" PILOT_CRASHES={{count}} PILOT_SEED={{seed}} cargo test --release -p pilotctl --test system -- --ignored --nocapture crashes
