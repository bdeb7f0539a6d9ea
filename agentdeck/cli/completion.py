"""`completion`: for bash, zsh and fish."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script: verbs, options, files, runs and agents.

    \b
    Examples:
      eval "$(agentdeck completion bash)"      in ~/.bashrc
      eval "$(agentdeck completion zsh)"       in ~/.zshrc, after compinit
      agentdeck completion fish > ~/.config/fish/completions/agentdeck.fish
    """
    from click.shell_completion import get_completion_class

    from agentdeck.cli.main import cli

    made = get_completion_class(shell)
    assert made is not None
    script = made(cli, {}, "agentdeck", "_AGENTDECK_COMPLETE")
    # Not script.source(): for bash that starts a shell to ask for its version.
    click.echo(script.source_template % script.source_vars())
