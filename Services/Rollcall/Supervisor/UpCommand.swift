/// `rollcall up`.
public enum UpCommand {
    public static func run(_ arguments: [String]) -> Int32 {
        print("not built yet")
        return 1
    }
}
