import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// Who keeps a mount alive, and who no longer does.
    @Suite("Holders of mounts")
    struct HolderTests {
        /// Runs a script in a mount namespace with two machines, $A and $B; every line that it prints is one that failed.
        private func script(_ propagation: String, _ text: String) throws {
            try TestMount.unmounted { mount in
                let folder = FilePath(mount.path).removingLastComponent().string
                let script = """
                    set -u
                    A=\(folder)/a B=\(folder)/b
                    mkdir -p $A $B
                    # Whether a process has ended, within so many tenths of a second.
                    ended() {
                        for i in $(seq $2); do
                            grep -q '^State:.[^ZX]' /proc/$1/status 2> /dev/null || return 0
                            sleep 0.1
                        done
                        return 1
                    }
                    start() { \(Host.cdmfs) mount --topology \(mount.topologyFile) -o transport=\(EachTransport.current) $1 && cat $1/sys/kernel/cdm/pid; }
                    \(text)
                    """
                let outcome = try run(
                    ["unshare", "-m", "--propagation", propagation, "bash", "-c", script], within: 60,
                    environment: mount.environment.merging(["FOLDER": folder, "CDMFS": Host.cdmfs]) { $1 })
                #expect(outcome.succeeded && outcome.output.isEmpty, "\(outcome.output) \(outcome.errors)")
                let table = try procfs("self/mountinfo")
                #expect(!table.contains(folder + "/"))
            }
        }

        @Test(
            "run keeps no machine alive but its own, and unmount says whom that one waits for",
            arguments: ["private", "shared"])
        func others(propagation: String) throws {
            try script(
                propagation,
                """
                a=$(start $A) b=$(start $B)
                $CDMFS run --mount $A -- sh -c 'echo $$ > $FOLDER/pid; exec sleep 1000' & run=$!
                while ! [ -s $FOLDER/pid ]; do sleep 0.01; done
                $CDMFS unmount $B 2>&1
                ended $b 10 || echo "b's daemon lives"
                said=$($CDMFS unmount $A 2>&1) || echo "unmount: $?"
                [ "$said" = "cdmfs: unmount: $A: unmounted here, but still mounted in the mount namespaces of processes $run (sleep)" ] || echo "$said"
                ended $a 1 && echo "a's daemon has ended"
                kill $run
                ended $a 10 || echo "a's daemon lives"
                """)
        }

        @Test("A lazy unmount says who keeps the machine, too")
        func lazy() throws {
            try script(
                "private",
                """
                a=$(start $A)
                unshare -m sleep 1000 & other=$!
                until [ "$(cat /proc/$other/comm)" = sleep ]; do sleep 0.01; done
                said=$($CDMFS unmount --lazy $A 2>&1) || echo "unmount: $?"
                case "$said" in *" $other (sleep)") ;; *) echo "$said" ;; esac
                kill $other
                ended $a 10 || echo "a's daemon lives"
                """)
        }

        @Test("Daemons that are alone in a mount namespace end, and what they have of others does, too")
        func alone() throws {
            try script(
                "private",
                """
                a=$(start $A)
                # The second is of a namespace that has a copy of the first.
                unshare -m bash -c "$(declare -f start); A=$A B=$B; start $B > $FOLDER/pid.b; read" < <(sleep 1; echo) &
                while ! [ -s $FOLDER/pid.b ]; do sleep 0.01; done
                b=$(cat $FOLDER/pid.b)
                $CDMFS unmount $A 2> /dev/null
                ended $a 1 && echo "a's daemon has ended"
                wait $!
                ended $b 10 || echo "b's daemon lives"
                ended $a 10 || echo "a's daemon lives"
                unshare -m bash -c "$(declare -f start); start $A > $FOLDER/pid.a; start $B > $FOLDER/pid.b"
                ended $(cat $FOLDER/pid.a) 10 || echo "a's daemon lives alone"
                ended $(cat $FOLDER/pid.b) 10 || echo "b's daemon lives alone"
                """)
        }

        @Test("An open file keeps a machine that no mount leads to, and one in the foreground waits for visitors")
        func reachable() throws {
            try script(
                "private",
                """
                unshare -m bash -c "$(declare -f start); start $A > $FOLDER/pid.a; echo kept > $A/buffers/x; exec 5<> $A/buffers/x; exec sleep 1000" & user=$!
                until [ "$(cat /proc/$user/comm)" = sleep ]; do sleep 0.01; done
                exec 6<> /proc/$user/fd/5
                kill $user; wait $user 2> /dev/null
                ended $(cat $FOLDER/pid.a) 5 && echo "a's daemon has ended"
                [ "$(cat <&6)" = kept ] || echo "the file is lost"
                exec 6>&-
                ended $(cat $FOLDER/pid.a) 10 || echo "a's daemon lives"
                unshare -m $CDMFS mount --foreground --topology $FOLDER/topology.toml $B 2> /dev/null & daemon=$!
                for i in $(seq 100); do
                    nsenter -t $daemon -m test -e $B/sys && break
                    sleep 0.1
                done
                ended $daemon 3 && echo "b's daemon has ended"
                nsenter -t $daemon -m cat $B/sys/kernel/cdm/pid > /dev/null || echo "b does not answer"
                kill $daemon
                ended $daemon 20 || echo "b's daemon lives"
                """)
        }
    }
}
