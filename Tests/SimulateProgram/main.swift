import Simulation

SimulateCommand.run(Array(CommandLine.arguments.dropFirst()))
