// A receiver in C#: PORT=4000 WEBHOOK_SECRET=whsec_... mono Receiver.exe
using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

public static class Receiver
{
    static readonly byte[] Key = Convert.FromBase64String(Regex.Replace(Environment.GetEnvironmentVariable("WEBHOOK_SECRET") ?? "", "^whsec_", ""));
    static readonly HashSet<string> Seen = new HashSet<string>(); // keep it in your database, so that a restart forgets nothing

    // In constant time. Newer versions of .NET have CryptographicOperations.FixedTimeEquals.
    static bool Same(byte[] a, byte[] b)
    {
        int different = a.Length ^ b.Length;
        for (int i = 0; i < a.Length && i < b.Length; i++) different |= a[i] ^ b[i];
        return different == 0;
    }

    // Returns 0, or the status to answer with.
    static int Verify(string id, string stamp, string signatures, byte[] body)
    {
        if (string.IsNullOrEmpty(id) || !Regex.IsMatch(stamp ?? "", "^[0-9]{1,12}$")
            || Math.Abs(DateTimeOffset.UtcNow.ToUnixTimeSeconds() - long.Parse(stamp)) > 300) return 400;
        byte[] head = Encoding.UTF8.GetBytes(id + "." + stamp + ".");
        byte[] signed = new byte[head.Length + body.Length]; // the bytes as they came, never re-encoded
        head.CopyTo(signed, 0);
        body.CopyTo(signed, head.Length);
        byte[] want;
        using (var mac = new HMACSHA256(Key)) want = mac.ComputeHash(signed);
        foreach (string signature in (signatures ?? "").Split(' '))
        {
            if (!signature.StartsWith("v1,", StringComparison.Ordinal)) continue;
            try
            {
                if (Same(Convert.FromBase64String(signature.Substring(3)), want)) return 0;
            }
            catch (FormatException) { } // no base 64
        }
        return 401;
    }

    public static void Main()
    {
        var listener = new HttpListener();
        listener.Prefixes.Add("http://127.0.0.1:" + (Environment.GetEnvironmentVariable("PORT") ?? "4000") + "/");
        listener.Start();
        while (true)
        {
            var context = listener.GetContext();
            var headers = context.Request.Headers;
            var buffer = new MemoryStream();
            context.Request.InputStream.CopyTo(buffer);
            byte[] body = buffer.ToArray();
            int status = Verify(headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"], body);
            if (status == 0 && Seen.Add(headers["webhook-id"])) // the same delivery may come again: it has the same id
            {
                var name = Regex.Match(Encoding.UTF8.GetString(body), "\"(?:event|type)\"\\s*:\\s*\"([^\"]*)\""); // use your JSON library
                Console.WriteLine("got " + name.Groups[1].Value + " " + headers["Consentwire-Subject"] + " " + headers["Consentwire-Sequence"]);
            }
            context.Response.StatusCode = status == 0 ? 204 : status;
            context.Response.Close();
        }
    }
}
