// Package chaos breaks clusters of real processes and says whether they kept their word.
package chaos
