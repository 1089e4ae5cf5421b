"""`python -m monosem_jax NAME …`: the command `monosem`."""

from monosem_jax.runtime.command import main

if __name__ == "__main__":
    main()
