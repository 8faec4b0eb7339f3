//! One test for each way in which the program may be attached.

/// Makes two tests of each function that takes an `Attach`: `native::NAME` and `generic::NAME`.
macro_rules! in_both_modes {
    ($($name:ident),+ $(,)?) => {
        mod native {
            $(
                #[test]
                fn $name() -> anyhow::Result<()> {
                    super::$name(serin_tests::config::Attach::Native)
                }
            )+
        }
        mod generic {
            $(
                #[test]
                fn $name() -> anyhow::Result<()> {
                    super::$name(serin_tests::config::Attach::Generic)
                }
            )+
        }
    };
}
