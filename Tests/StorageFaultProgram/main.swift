import Glibc
import StorageFaults

// Runs the workload of `StorageFaults` on the database PATH and ends as by a kill at its operation N; without one it prints
// how many there are. Every step that was reported as done is a line of its number. With `early` a step is reported before
// it is done: a defect that the tests are to find.

/// One write: a killed process loses no line that it wrote.
func say(_ text: String) {
    let bytes = Array("\(text)\n".utf8)
    _ = write(1, bytes, bytes.count)
}

guard CommandLine.arguments.count >= 2 else {
    say("usage: rollcall-store-kill PATH [N [early]]")
    exit(2)
}
let disk = FaultyDisk(name: "kill")
let isEarly = CommandLine.arguments.count > 3 && CommandLine.arguments[3] == "early"
disk.killAt = CommandLine.arguments.count > 2 ? Int(CommandLine.arguments[2]) : nil
let trial = Trial(path: CommandLine.arguments[1], disk: disk)
do {
    _ = try trial.open()
    say("0")
    for (index, step) in Workload().steps.enumerated() {
        if isEarly { say("\(index + 1)") }
        try trial.perform(step, number: index + 1)
        if !isEarly { say("\(index + 1)") }
    }
    trial.close()
    say("operations \(disk.count)")
} catch {
    say("failed: \(error)")
    exit(1)
}
