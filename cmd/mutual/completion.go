package main

import (
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) completionCommand() *cobra.Command {
	shells := map[string]func(*cobra.Command) error{
		"bash":       func(root *cobra.Command) error { return root.GenBashCompletionV2(a.out, true) },
		"zsh":        func(root *cobra.Command) error { return root.GenZshCompletion(a.out) },
		"fish":       func(root *cobra.Command) error { return root.GenFishCompletion(a.out, true) },
		"powershell": func(root *cobra.Command) error { return root.GenPowerShellCompletionWithDesc(a.out) },
	}
	names := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion " + strings.Join(names, "|"),
		Short: "Print what makes a shell complete commands and flags",
		Example: `  mutual completion bash > ~/.local/share/bash-completion/completions/mutual
  mutual completion zsh > "${fpath[1]}/_mutual"
  mutual completion fish > ~/.config/fish/completions/mutual.fish
  mutual completion powershell | Out-String | Invoke-Expression`,
		Args:      exactly("the name of a shell: " + strings.Join(names, ", ")),
		ValidArgs: names,
		RunE: func(c *cobra.Command, args []string) error {
			write, ok := shells[args[0]]
			if !ok {
				return usage("%q is no shell that mutual knows; it can be %s", args[0], strings.Join(names, ", "))
			}
			return write(c.Root())
		},
	}
}

// oneOf lets shells complete a flag that takes one of a few values.
func oneOf(c *cobra.Command, flag string, values ...string) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag, which every start of the program would show
	}
}
